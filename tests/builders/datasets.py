"""Small data sets as they are on disk, and a finished run for a tracker."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.evaluation.evaluation import Predictions, evaluate
from training.fitting.history import Epoch
from training.runs.config import RunRecord, offline_config
from training.runs.trackers import TrackedRun


def arrays(
    *, shape: tuple[int, ...] = (8, 8), counts: tuple[int, int, int] = (12, 6, 6)
) -> dict[str, Any]:
    """The content of a MedMNIST file with two classes."""
    generator = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for name, count in zip(("train", "val", "test"), counts, strict=True):
        content[f"{name}_images"] = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
        content[f"{name}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    return content


def write_images(folder: Path, count: int, *, mode: str = "L") -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(len(str(folder)))
    for number in range(count):
        pixels = generator.integers(0, 256, (9, 13, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{number}.jpg")


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
        device="cpu",
        libraries={},
        git_commit=None,
    )
    history = [Epoch(n, 1.0 / n, 0.5, 0.1, 1.0 / n, 0.6, -0.1, 0.1) for n in (1, 2)]
    return TrackedRun(folder, record, history, evaluate({"val": known, "test": known}))
