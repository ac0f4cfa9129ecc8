"""A folder of many small PNGs, all different."""

import io
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

SIDE: Final = 28
IN_FOLDER: Final = 1_000
BROKEN_EVERY: Final = 100_000  # the last image of each so many is cut off in its middle


def name_of(number: int) -> str:
    """The name of an image in the folder.

    >>> name_of(41_007)
    '0041/0041007.png'
    """
    return f"{number // IN_FOLDER:04}/{number:07}.png"


def make(folder: Path, count: int) -> int:
    """Make the images that are not there; return how many of all are broken."""
    pictures = _pictures()
    for number in range(count):
        path = folder / name_of(number)
        if number % IN_FOLDER == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(_file(number, pictures[number % len(pictures)]))
    return count // BROKEN_EVERY


def _pictures() -> list[np.ndarray]:
    """Blurred spots on a noisy ground, (28, 28) uint8."""
    random, (y, x) = np.random.default_rng(0), np.mgrid[:SIDE, :SIDE]
    found = []
    for _ in range(1_000):
        across, down = random.uniform(6, 22, 2)
        spot = np.exp(-((x - across) ** 2 + (y - down) ** 2) / (2 * random.uniform(2, 9) ** 2))
        found.append(
            (255 * spot * random.uniform(0.3, 1) + random.uniform(0, 20, (SIDE, SIDE))).clip(0, 255)
        )
    return [picture.astype(np.uint8) for picture in found]


def _file(number: int, picture: np.ndarray) -> bytes:
    """The PNG of a picture whose first pixels are the number."""
    pixels = picture.copy()
    pixels[0, :24] = [255 * (number >> bit & 1) for bit in range(24)]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()[:60] if number % BROKEN_EVERY == BROKEN_EVERY - 1 else file.getvalue()
