"""Losses for findings beside cross-entropy, on composed images: four radiographs in each.

No package ships images with several findings. So each image is a mosaic of four radiographs of
PneumoniaMNIST's training split, and finding k is pneumonia in place k. The four findings are
equally hard, and differ in how rare they are. Training, validation and test are composed from
different radiographs, each used several times. Some labels are blank.

    CANDOR_DATA=... python -m benchmarks.training.findings --seeds 2
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibration.sampling import stratified_parts
from calibration.wording import percent
from docs.generators.markdown import table
from training.datasets import ArrayImages, Dataset, Split, fingerprint, load_dataset
from training.datasets.records import SplitName
from training.evaluation.findings import FindingsEvaluation
from training.experiments.summary import Estimate
from training.experiments.table import format_estimate, format_number
from training.networks.backbones import find_weights
from training.runs.config import TrainConfig
from training.runs.session import TrainingSession

NAMES = ("upper left", "upper right", "lower left", "lower right")
PREVALENCE = (0.5, 0.2, 0.05, 0.02)
IMAGES: dict[SplitName, int] = {"train": 3000, "val": 1500, "test": 3000}
SHARES = (0.5, 0.2, 0.3)
BLANK = 0.2
CHOICES: dict[str, object] = {
    "head": "pooled",
    "learning_rate": 1e-3,
    "epochs": 20,
    "select": "val_nll",
    "image_size": 64,
}
METHODS: dict[str, dict[str, object]] = {
    "cross-entropy": {"loss": "ce"},
    "DCA, beta 0.1": {"loss": "dca", "beta": 0.1},
    "DCA, beta 1": {"loss": "dca", "beta": 1.0},
    "DCA, beta 10": {"loss": "dca", "beta": 10.0},
    "focal": {"loss": "focal"},
    "label smoothing": {"loss": "label-smoothing"},
    "mixup": {"loss": "mixup"},
    "MMCE, beta 1": {"loss": "mmce", "beta": 1.0},
    "soft ECE, beta 1": {"loss": "soft-ece", "beta": 1.0},
    "balanced": {"loss": "ce", "class_weights": "balanced"},
}
RATIO, SCORE = percent, format_number
WRITTEN = (SCORE, RATIO, RATIO, SCORE, RATIO, SCORE, SCORE)  # the figures of a row


class FindingRow(NamedTuple):
    """One finding of one method and seed, on test, as trained and after its calibrator."""

    method: str
    finding: str
    auroc: float
    ece: float
    floor: float
    ratio: float
    calibrated_ece: float
    nll: float
    calibrated_nll: float


def composed(source: Dataset, *, seed: int) -> Dataset:
    """Mosaics of four radiographs."""
    known, rng = source.splits["train"], np.random.default_rng(seed)
    pixels = known.images.pixels  # type: ignore[attr-defined]
    names: tuple[SplitName, ...] = ("train", "val", "test")
    parts = stratified_parts(known.labels, SHARES, seed=seed)
    splits = {
        name: _mosaics(pixels, known.labels, part, IMAGES[name], rng)
        for name, part in zip(names, parts, strict=True)
    }
    return Dataset("mosaics", NAMES, 1, 56, splits, fingerprint(NAMES, splits))


def _mosaics(
    pixels: NDArray[np.uint8],
    classes: NDArray[np.int64],
    part: NDArray[np.int64],
    count: int,
    rng: np.random.Generator,
) -> Split:
    labels = (rng.random((count, len(NAMES))) < PREVALENCE).astype(np.float64)
    ill, well = part[classes[part] == 1], part[classes[part] == 0]
    tiles = np.where(labels == 1, rng.choice(ill, labels.shape), rng.choice(well, labels.shape))
    side = pixels.shape[1]
    images = pixels[tiles].reshape(count, 2, 2, side, side).transpose(0, 1, 3, 2, 4)
    labels[rng.random(labels.shape) < BLANK] = np.nan
    return Split(ArrayImages(images.reshape(count, 2 * side, 2 * side)), labels)


def measure(dataset: Dataset, method: str, seed: int, cache: Path) -> list[FindingRow]:
    """Train by one method and measure each finding on test."""
    weights = find_weights(TrainConfig().backbone, Path(os.environ["CANDOR_DATA"]))
    choices = CHOICES | {"seed": seed, "weights": weights} | METHODS[method]
    session = TrainingSession(TrainConfig.model_validate(choices), dataset)
    network = session.network()
    examples = session.for_head(session.examples(network, cache=cache))
    session.fit(network, examples)
    found = session.evaluation(network, examples)
    if not isinstance(found, FindingsEvaluation):
        raise TypeError("mosaics have findings")
    before, after = found.measures("test", "uncalibrated"), found.measures("test", "calibrated")
    return [
        FindingRow(
            method,
            name,
            raw.auroc,
            raw.ece,
            raw.ece_floor,
            raw.observed_expected,
            done.ece,
            raw.nll,
            done.nll,
        )
        for name, raw, done in zip(NAMES, before, after, strict=True)
    ]


def summary(rows: list[FindingRow]) -> str:
    """A Markdown table: a row for each method and finding, means over seeds ± standard errors."""
    lines = []
    for method in METHODS:
        for name, prevalence in zip(NAMES, PREVALENCE, strict=True):
            own = np.array([row[2:] for row in rows if row[:2] == (method, name)])
            if len(own):
                error = own.std(axis=0, ddof=1) / len(own) ** 0.5 if len(own) > 1 else 0 * own[0]
                cells = [
                    format_estimate(Estimate(mean, half, len(own)), write)
                    for mean, half, write in zip(own.mean(axis=0), error, WRITTEN, strict=True)
                ]
                lines.append([method, percent(prevalence, 0), *cells])
    head = ("method", "prevalence", "AUROC", "ECE", "floor", "O/E", "ECE, calibrated", "NLL")
    return table((*head, "NLL, calibrated"), lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--folder", type=Path, help="keeps features")
    chosen = parser.parse_args()
    source = load_dataset(Path(os.environ["CANDOR_DATA"]) / "pneumoniamnist.npz")
    rows: list[FindingRow] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        dataset = composed(source, seed=0)
        for method in chosen.methods:
            for seed in range(chosen.seeds):
                rows += measure(dataset, method, seed, folder / "cache")
            print(summary(rows), flush=True)


if __name__ == "__main__":
    main()
