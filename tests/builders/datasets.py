"""Small data sets as they are on disk."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


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
