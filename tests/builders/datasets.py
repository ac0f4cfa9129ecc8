"""Small data sets as they are on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.datasets import SPLIT_NAMES, ArrayImages, Dataset, Split, SplitName, fingerprint
from training.fitting.examples import Examples


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


def shades(
    classes: Sequence[str] = ("dark", "middle", "bright"),
    counts: tuple[int, int, int] = (120, 45, 45),
    *,
    side: int = 16,
    spread: float = 12.0,
    noise: float = 30.0,
) -> Dataset:
    """Noisy gray images whose class is their brightness; neighbors overlap."""
    generator = np.random.default_rng(0)
    splits: dict[SplitName, Split] = {}
    for name, count in zip(SPLIT_NAMES, counts, strict=True):
        labels = np.arange(count) % len(classes)
        levels = 70 + 50 * labels + generator.normal(scale=spread, size=count)
        pixels = levels[:, None, None] + generator.normal(scale=noise, size=(count, side, side))
        splits[name] = Split(ArrayImages(pixels.clip(0, 255).astype(np.uint8)), labels)
    return Dataset("brightness", tuple(classes), 1, side, splits, fingerprint(classes, splits))


def labeled(*counts: int) -> Dataset:
    """A data set with so many training images of each class; nothing looks at the pixels."""
    labels = np.repeat(np.arange(len(counts)), counts)
    split = Split(ArrayImages(np.zeros((len(labels), 1, 1), np.uint8)), labels)
    classes = tuple(f"class {label}" for label in range(len(counts)))
    return Dataset("folder", classes, 1, 256, dict.fromkeys(SPLIT_NAMES, split), "fingerprint")


def clouds(count: int = 65, *, seed: int = 0, distance: float = 1.0) -> Examples:
    """Two clouds of points in six dimensions."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    points = generator.normal(size=(count, 6)) + distance * labels[:, None]
    return Examples(points.astype(np.float32), labels.astype(np.int64))
