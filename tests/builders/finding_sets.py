"""Images with several findings: four real digits in each, composed; a finding is a kind of digit.

No package ships small images with several findings. The digits are scikit-learn's, as they are.
"""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.datasets.digits import digit_levels

NAMES = ("three", "seven", "nought")
DIGITS = (3, 7, 0)
SHARES = (0.5, 0.3, 0.15)  # of the images that have the finding
SIDE = 16


def compose(count: int, *, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Images uint8 (N, 16, 16) of 2 x 2 digits, and labels (N, K) of the findings NAMES."""
    parts = digit_levels()
    levels = np.concatenate([each for each, _ in parts.values()])
    digits = np.concatenate([each for _, each in parts.values()])
    rng = np.random.default_rng(seed)
    others = np.flatnonzero(~np.isin(digits, DIGITS))
    labels = (rng.random((count, len(NAMES))) < SHARES).astype(np.float64)
    tiles = rng.choice(others, (count, 4))
    for column, digit in enumerate(DIGITS):
        there = np.flatnonzero(labels[:, column])
        tiles[there, column] = rng.choice(np.flatnonzero(digits == digit), len(there))
    tiles = rng.permuted(tiles, axis=1)
    pixels = np.rint(levels[tiles] * (255 / 16)).astype(np.uint8).reshape(count, 2, 2, 8, 8)
    return pixels.transpose(0, 1, 3, 2, 4).reshape(count, SIDE, SIDE), labels


def blank(labels: NDArray[np.float64], share: float, *, seed: int = 1) -> NDArray[np.float64]:
    """The labels with a share of them unknown."""
    gone = np.random.default_rng(seed).random(labels.shape) < share
    return np.where(gone, np.nan, labels)


def write_npz(path: Path, count: int, *, blanks: float = 0.0, seed: int = 0) -> None:
    """A file as MedMNIST's with labels (N, K): 3/5, 1/5 and 1/5 of `count` images."""
    images, labels = compose(count, seed=seed)
    ends = [count * 3 // 5, count * 4 // 5]
    arrays: dict[str, NDArray[np.generic]] = {"classes": np.array(NAMES)}
    for name, part in zip(("train", "val", "test"), np.split(np.arange(count), ends), strict=True):
        arrays |= {f"{name}_images": images[part], f"{name}_labels": blank(labels[part], blanks)}
    np.savez(path, **arrays)


def write_table(
    folder: Path, count: int, *, blanks: float = 0.0, lists: bool = False, per_patient: int = 1
) -> Path:
    """Image files and their labels.csv: a column for each finding, or a list of them."""
    images, labels = compose(count)
    labels = blank(labels, blanks)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "patient", *(["label"] if lists else NAMES)])
        for number, (image, row) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(folder / f"{number:04}.png")
            cells = ["" if np.isnan(value) else str(int(value)) for value in row]
            there = [name for name, value in zip(NAMES, row, strict=True) if value == 1]
            listed = ["|".join(there) or "No Finding"]
            rows.writerow(
                [f"{number:04}.png", f"p{number // per_patient}", *(listed if lists else cells)]
            )
    return folder / "labels.csv"
