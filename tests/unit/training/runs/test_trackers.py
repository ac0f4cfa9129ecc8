"""A finished run in MLflow and Weights & Biases: every choice and figure, once."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.builders.datasets import tracked_run
from training.errors import TrackerMissing
from training.fitting.history import Epoch
from training.runs.trackers import TrackedRun, require


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    return tracked_run(tmp_path / "dca-seed-3")


def test_every_choice_epoch_and_measure_is_recorded(run: TrackedRun) -> None:
    assert run.choices["loss"] == "dca"
    assert run.choices["dataset"] == "noise"
    assert [(epoch, figures["val/loss"]) for epoch, figures in run.epochs()] == [(1, 1.0), (2, 0.5)]
    found = run.measures()
    assert found["test/temperature/ece"] == run.evaluation.measures["test"]["temperature"].ece
    assert all(np.isfinite(value) for value in found.values())


def test_heads_are_told_apart(run: TrackedRun) -> None:
    second = Epoch(1, 3.0, 0.5, 0.1, 1.0, 0.6, -0.1, 0.1, head=1)
    several = TrackedRun(run.folder, run.record, [*run.history, second], run.evaluation)
    names = [name for _, figures in several.epochs() for name in figures]
    assert "head_1/train/loss" in names
    assert "train/loss" not in names


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_reported_before_training(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TrackerMissing, match="pip install"):
        require([name])  # type: ignore[list-item]
