"""A finished run of random answers, to be recorded by a tracker."""

from pathlib import Path

import numpy as np

from training.evaluation.evaluation import Predictions, evaluate
from training.fitting.history import Epoch
from training.runs.config import RunRecord, offline_config
from training.runs.trackers import TrackedRun


def tracked_run(folder: Path) -> TrackedRun:
    """Two epochs of DCA with seed 3; `folder` need not exist."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 80)
    known = Predictions(random.normal(size=(80, 2)).astype(np.float32), labels)
    record = RunRecord(
        config=offline_config(loss="dca", seed=3),
        dataset="noise",
        fingerprint="0" * 64,
        classes=("a", "b"),
        counts={"train": [1, 1], "val": [1, 1], "test": [1, 1]},
        channels=1,
        height=32,
        width=32,
        resize="stretch",
        backbone_sha256="0" * 64,
        libraries={},
        git_commit=None,
    )
    history = [Epoch(n, 1.0 / n, 0.5, 0.1, 1.0 / n, 0.6, -0.1, 0.1) for n in (1, 2)]
    return TrackedRun(folder, record, history, evaluate({"val": known, "test": known}))
