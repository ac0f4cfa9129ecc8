"""Folders of images as strangers bring them: rare classes, color, many classes of unequal size.

The images come from scikit-image (extra `bench`) and the data sets below `CANDOR_DATA`. Every
folder is the same each time it is written; none has splits, so Candor draws them.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
TILE = 32  # pixels
# Tiles of these photographs of scikit-image, at most so many of each: 12 classes of unequal size.
TEXTURES = {
    "brick": 200,
    "grass": 160,
    "gravel": 130,
    "retina": 110,
    "moon": 90,
    "immunohistochemistry": 75,
    "hubble_deep_field": 60,
    "coffee": 50,
    "cat": 40,
    "astronaut": 30,
    "cell": 20,
    "coins": 12,
}


def rare(folder: Path, data: Path) -> None:
    """348 gray radiographs of 256 pixels as JPEG: 230 without findings, 115 with pneumonia, three
    with covid.
    """
    for name, count in (("no_findings", 230), ("pneumonia", 115), ("covid-19", 3)):
        for path in radiographs(data, name)[:count]:
            _save(folder / name / path.name, np.asarray(Image.open(path)))


def stain(folder: Path, data: Path) -> None:
    """441 color tiles of 24 pixels as PNG, in three classes by how strongly a tissue section is
    stained.

    Most tiles are not stained and few are strongly; the names have brackets and colons.
    """
    from skimage import data as photographs
    from skimage.color import rgb2hed

    section = photographs.immunohistochemistry()
    found = tiles(section, 24)
    strength = np.array([rgb2hed(tile)[..., 2].mean() for tile in found])
    edges = np.quantile(strength, (0.6, 0.9))
    for number, (tile, grade) in enumerate(zip(found, np.digitize(strength, edges), strict=True)):
        name = ("stain: none", "stain [weak]", "stain [strong]")[grade]
        _save(folder / name / f"{number}.png", tile)


def textures(folder: Path, data: Path) -> None:
    """977 gray tiles of 32 pixels as PNG, in twelve classes of 200 to 12."""
    from skimage import data as photographs

    for name, count in TEXTURES.items():
        image = getattr(photographs, name)()
        gray = np.asarray(Image.fromarray(image).convert("L"))
        found = tiles(gray, TILE)
        chosen = np.random.default_rng(0).permutation(len(found))[:count]
        for number in sorted(chosen):
            _save(folder / name / f"{number}.png", found[number])


FOLDERS: dict[str, Callable[[Path, Path], None]] = {
    "rare": rare,
    "stain": stain,
    "textures": textures,
}


def radiographs(data: Path, name: str) -> list[Path]:
    """The images of a class of chest_xray3, sorted."""
    return sorted((data / "chest_xray3").glob(f"*/{name}/*.jpg"), key=lambda path: path.name)


def tiles(image: Pixels, side: int) -> list[Pixels]:
    """The square tiles of an image (H, W) or (H, W, 3), row by row, without a rest."""
    height, width = image.shape[:2]
    return [
        image[top : top + side, left : left + side]
        for top in range(0, height - side + 1, side)
        for left in range(0, width - side + 1, side)
    ]


def _save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
