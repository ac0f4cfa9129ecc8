"""Optimizers: rates by layer, weight decay of matrices alone, and state that survives an
interruption.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model_store.image import InputSpec
from training.fitting.examples import Examples
from training.fitting.fit import fit
from training.fitting.history import Epoch
from training.fitting.schedule import Schedule, build_optimizer, set_rate
from training.fitting.snapshot import SnapshotFile
from training.losses import LossSettings, build_objective
from training.networks.backbones import SMALL
from training.networks.classifier import Classifier, build_classifier
from training.processes.distributed import Group

SPEC = InputSpec(channels=1, height=32, width=32, resize="stretch")


def network(**choice: Any) -> Classifier:
    return build_classifier(SMALL, "none", spec=SPEC, class_count=3, reduction=2, seed=0, **choice)


def rates(module: nn.Module, schedule: Schedule) -> dict[str, float]:
    """The learning rate of each trained weight by name, at half the highest rate."""
    optimizer = build_optimizer(module, schedule)
    set_rate(optimizer, 0.5 * schedule.learning_rate)
    by_id = {id(each): group["lr"] for group in optimizer.param_groups for each in group["params"]}
    return {name: by_id[id(each)] for name, each in module.named_parameters() if id(each) in by_id}


def test_layers_below_the_head_learn_more_slowly() -> None:
    whole = network(frozen=False)
    found = rates(nn.Sequential(whole.backbone, whole.head), Schedule(1, 8, 1.0, layer_decay=0.1))
    assert {name.split(".")[1] for name in found} == {"tail", "head"}
    for place, rate in {
        "tail.trunk.0": 0.0005,
        "tail.trunk.4": 0.005,
        "tail.trunk.7": 0.05,
        "head.0": 0.5,
    }.items():
        assert found[f"1.{place}.weight"] == pytest.approx(rate)
    last = rates(network(frozen=True, trainable=1).head, Schedule(1, 8, 1.0, layer_decay=0.1))
    assert sorted(set(last.values())) == pytest.approx([0.05, 0.5])
    assert len(set(rates(whole, Schedule(1, 8, 1.0)).values())) == 1


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_every_trained_weight_is_in_the_optimizer_once(name: Any) -> None:
    module = network(frozen=True, trainable=2)
    schedule = Schedule(1, 8, 1e-3, optimizer=name, weight_decay=0.1, layer_decay=0.5)
    optimizer = build_optimizer(module, schedule)
    held = [id(each) for group in optimizer.param_groups for each in group["params"]]
    assert sorted(held) == sorted(id(each) for each in module.parameters() if each.requires_grad)
    decayed = {
        each.dim()
        for group in optimizer.param_groups
        if group["weight_decay"]
        for each in group["params"]
    }
    assert decayed == ({2, 4} if name == "adamw" else {1, 2, 4})


def points(seed: int) -> Examples:
    generator = np.random.default_rng(seed)
    labels = (np.arange(60) % 6 == 0).astype(np.int64)
    return Examples((generator.normal(size=(60, 5)) + labels[:, None]).astype(np.float32), labels)


def trained(
    schedule: Schedule, path: Path | None = None, *, stop: int = 0
) -> dict[str, torch.Tensor]:
    def watch(epoch: Epoch) -> None:
        if epoch.epoch == stop:
            raise InterruptedError

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    with suppress(InterruptedError):
        fit(
            module,
            points(0),
            points(1),
            objective=build_objective("dca", LossSettings()),
            schedule=schedule,
            seed=0,
            snapshots=SnapshotFile(path, Group()) if path else None,
            watch=watch,
        )
    return {name: each.clone() for name, each in module.state_dict().items()}


@pytest.mark.parametrize(
    "choice",
    [
        {"optimizer": "adamw", "weight_decay": 0.1, "warmup": 1.5, "decay": "cosine"},
        {"optimizer": "sgd", "clip_norm": 0.1},
    ],
    ids=str,
)
def test_an_interrupted_fit_resumes_to_the_bit(choice: dict[str, Any], tmp_path: Path) -> None:
    schedule = Schedule(4, 16, 1e-2, **choice)
    whole = trained(schedule)
    trained(schedule, tmp_path / "snapshot.safetensors", stop=3)
    resumed = trained(schedule, tmp_path / "snapshot.safetensors")
    assert all(torch.equal(each, resumed[name]) for name, each in whole.items())
    plain = trained(Schedule(4, 16, 1e-2))
    assert not any(torch.equal(each, plain[name]) for name, each in whole.items())


def test_a_clipped_gradient_moves_weights_by_at_most_rate_times_norm() -> None:
    torch.manual_seed(0)
    before = [
        each.clone()
        for each in nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)).parameters()
    ]
    after = trained(Schedule(1, 60, 1.0, optimizer="sgd", clip_norm=1e-3)).values()
    moved = (
        torch.stack(
            [(one - other).square().sum() for one, other in zip(before, after, strict=True)]
        )
        .sum()
        .sqrt()
    )
    assert moved.item() == pytest.approx(1e-3, rel=1e-3)
