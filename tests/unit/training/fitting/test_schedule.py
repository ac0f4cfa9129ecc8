"""Averaging, the kept epoch and early stopping."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from training.fitting.examples import Examples, batches, predict
from training.fitting.fit import fit
from training.fitting.history import Epoch
from training.fitting.kept_weights import best
from training.fitting.schedule import Schedule
from training.losses import LossSettings, build_objective

SCHEDULE = Schedule(epochs=8, batch_size=16, learning_rate=2e-2)


def examples(count: int = 64, *, seed: int = 0) -> Examples:
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    points = generator.normal(size=(count, 6)) + labels[:, None]
    return Examples(points.astype(np.float32), labels.astype(np.int64))


def test_ema_is_the_running_mean_over_steps() -> None:
    weights: list[torch.Tensor] = []
    ends = {}
    for averaging in ("none", "ema"):
        torch.manual_seed(0)
        module = nn.Linear(6, 2)
        if averaging == "none":
            module.register_forward_pre_hook(
                lambda module, _: (
                    weights.append(module.weight.detach().clone()) if module.training else None
                )
            )
        schedule = replace(SCHEDULE, averaging=averaging, ema_decay=0.9)  # type: ignore[arg-type]
        objective = build_objective("ce", LossSettings())
        fit(module, examples(), examples(seed=1), objective=objective, schedule=schedule, seed=0)
        ends[averaging] = module.weight.detach()
    mean, *later = [*weights[1:], ends["none"]]  # after each step
    for weight in later:
        mean = 0.9 * mean + 0.1 * weight
    torch.testing.assert_close(ends["ema"], mean)


@pytest.mark.parametrize("select", ["val_nll", "val_ece"])
def test_the_best_epoch_on_validation_is_kept_and_patience_ends_the_rest(select: str) -> None:
    schedule = replace(SCHEDULE, epochs=60, learning_rate=0.2, select=select, patience=3)  # type: ignore[arg-type]
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 2))
    train, val = examples(32), examples(200, seed=1)
    objective = build_objective("ce", LossSettings())
    history = fit(module, train, val, objective=objective, schedule=schedule, seed=0)
    enough = max(epoch.val_accuracy for epoch in history) - 0.01 if select == "val_ece" else 0
    figures = [epoch.val_loss if select == "val_nll" else epoch.val_ece for epoch in history]
    chosen = min(
        (figure, index)
        for index, figure in enumerate(figures)
        if history[index].val_accuracy >= enough
    )[1]
    assert len(history) == chosen + 1 + 3 < 60
    assert [epoch.kept for epoch in history] == [index == chosen for index in range(len(history))]
    logits = torch.from_numpy(predict(module, val.inputs))
    left = nn.functional.cross_entropy(logits, torch.from_numpy(val.labels)).item()
    assert left == history[chosen].val_loss
    assert left < history[-1].val_loss or select == "val_ece"


def test_calibrated_guesses_are_not_chosen_for_their_ece() -> None:
    figures = [
        (0.1, 0.001),
        (0.8, 0.2),
        (0.9, 0.1),
        (0.895, 0.05),
        (0.85, 0.01),
        (0.895, 0.05),
        (0.91, 0.3),
    ]
    history = [Epoch(n, 0, 0, 0, 0, accuracy, 0, ece) for n, (accuracy, ece) in enumerate(figures)]
    assert [best(history[:count], "val_ece") for count in range(8)] == [-1, 0, 1, 2, 3, 3, 3, 6]


def test_by_default_the_last_epoch_is_kept() -> None:
    history = fit(
        nn.Linear(6, 2),
        examples(),
        examples(seed=1),
        objective=build_objective("ce", LossSettings()),
        schedule=SCHEDULE,
        seed=0,
    )
    assert [epoch.kept for epoch in history] == [False] * 7 + [True]


def test_every_process_has_an_image_of_every_batch() -> None:
    sizes = [len(batch) for batch in batches(np.arange(18), size=4, processes=3)]
    assert sizes == [4, 4, 4, 4]


def test_history_marks_nothing_before_the_end() -> None:
    seen: list[Epoch] = []
    fit(
        nn.Linear(6, 2),
        examples(),
        examples(seed=1),
        objective=build_objective("ce", LossSettings()),
        schedule=SCHEDULE,
        seed=0,
        watch=seen.append,
    )
    assert [epoch.epoch for epoch in seen] == list(range(1, 9))
    assert not any(epoch.kept for epoch in seen)
