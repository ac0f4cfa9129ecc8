"""The loop: equal seeds give equal bits, losses share start and batches, and divergence is an
error.
"""

import csv
import math
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.errors import TrainingDiverged
from training.fitting.examples import Examples, predict
from training.fitting.fit import fit
from training.fitting.history import Epoch, write_history
from training.fitting.schedule import Schedule
from training.losses import LossSettings, Objective, Term, build_objective

SCHEDULE = Schedule(epochs=3, batch_size=16, learning_rate=1e-2)


def examples(count: int = 65, *, seed: int = 0) -> Examples:
    """Two clouds of points, nearly separable."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    points = generator.normal(size=(count, 6)) + 3 * labels[:, None]
    return Examples(points.astype(np.float32), labels.astype(np.int64))


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2)
    )


def trained(
    loss: str = "dca", *, seed: int = 0, schedule: Schedule = SCHEDULE, drawn_before: int = 0
) -> tuple[nn.Module, list[Epoch]]:
    module = network()
    torch.rand(drawn_before)
    objective = build_objective(loss, LossSettings(beta=5.0))
    history = fit(
        module, examples(), examples(30, seed=1), objective=objective, schedule=schedule, seed=seed
    )
    return module, history


class Recorder(Term):
    """A loss of zero that keeps the labels and the first logits it was given."""

    def __init__(self, weight: float = 0.0) -> None:
        self.weight = weight
        self.labels: list[list[int]] = []
        self.logits: list[Tensor] = []

    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.labels.append(labels.tolist())
        self.logits.append(logits.detach().clone())
        return torch.zeros(1)

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        return self.weight * logits.sum()


def test_two_runs_of_one_seed_are_equal_to_the_bit_whatever_was_drawn_before() -> None:
    (first, first_history), (second, second_history) = (
        trained(drawn_before=0),
        trained(drawn_before=5),
    )
    assert first_history == second_history
    for mine, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(mine, other)


def test_another_seed_is_another_run() -> None:
    assert trained(seed=0)[1] != trained(seed=1)[1]


def test_losses_of_one_seed_share_start_batches_and_dropout() -> None:
    still, moving = Recorder(weight=0.0), Recorder(weight=1.0)
    for term in (still, moving):
        fit(
            network(),
            examples(),
            examples(),
            objective=Objective((term,)),
            schedule=SCHEDULE,
            seed=0,
        )
    assert still.labels == moving.labels
    assert torch.equal(still.logits[0], moving.logits[0])
    assert not torch.equal(still.logits[1], moving.logits[1])


def test_every_image_is_seen_once_per_epoch_except_a_single_last_one() -> None:
    term = Recorder()
    fit(
        network(), examples(65), examples(), objective=Objective((term,)), schedule=SCHEDULE, seed=0
    )
    assert [len(labels) for labels in term.labels] == [
        16
    ] * 4 * 3  # the 65th image would be a batch of its own
    term = Recorder()
    fit(
        network(), examples(66), examples(), objective=Objective((term,)), schedule=SCHEDULE, seed=0
    )
    assert sum(len(labels) for labels in term.labels) == 66 * 3


def test_it_learns_and_reports() -> None:
    seen: list[tuple[str, int, int, set[str]]] = []
    module = network()
    history = fit(
        module,
        examples(),
        examples(30, seed=1),
        objective=build_objective("ce", LossSettings()),
        schedule=Schedule(epochs=8, batch_size=16, learning_rate=1e-2),
        seed=0,
        stage="train ce",
        progress=lambda stage, done, total, **figures: seen.append(
            (stage, done, total, set(figures))
        ),
    )
    assert history[-1].val_accuracy > 0.9
    assert history[-1].val_loss < history[0].val_loss
    assert [line[:3] for line in seen] == [("train ce", epoch, 8) for epoch in range(1, 9)]
    assert seen[0][3] == {"loss", "accuracy", "gap"}
    assert not module.training


def test_the_validation_figures_are_those_of_the_module_left_behind() -> None:
    module, history = trained()
    val = examples(30, seed=1)
    logits = torch.from_numpy(predict(module, val.inputs))
    confidence, top = logits.softmax(dim=1).max(dim=1)
    accuracy = (top.numpy() == val.labels).mean()
    assert history[-1].val_accuracy == pytest.approx(accuracy)
    assert history[-1].val_gap == pytest.approx(confidence.mean().item() - accuracy, abs=1e-6)
    expected = nn.functional.cross_entropy(logits, torch.from_numpy(val.labels)).item()
    assert history[-1].val_loss == pytest.approx(expected)


def test_a_loss_that_is_not_finite_stops_at_once_and_says_what_to_do() -> None:
    broken = examples()
    broken.inputs[0, 0] = np.nan
    with pytest.raises(TrainingDiverged, match=r"nan in epoch 1 .*lower the learning rate"):
        fit(
            network(),
            broken,
            examples(),
            objective=build_objective("ce", LossSettings()),
            schedule=SCHEDULE,
            seed=0,
        )


def test_cosine_decay_ends_at_zero() -> None:
    still = Schedule(epochs=3, batch_size=16, learning_rate=1e-2, decay="cosine")
    assert still.factor(0, 65) == 1
    assert still.factor(15, 65) == pytest.approx(0)
    factors = [still.factor(step, 65) for step in range(16)]
    assert factors == sorted(factors, reverse=True)
    assert SCHEDULE.factor(15, 65) == 1
    assert trained(schedule=still)[1] != trained()[1]


def test_history_reads_back_exactly(tmp_path: Path) -> None:
    history = trained()[1]
    write_history(tmp_path / "history.csv", history)
    with (tmp_path / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [field.name for field in fields(Epoch)]
    assert [tuple(float(value) for value in row.values()) for row in rows] == [
        astuple(epoch) for epoch in history
    ]
    assert all(math.isfinite(epoch.train_gap) for epoch in history)
