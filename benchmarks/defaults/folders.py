"""Folders of images as strangers bring them: few images, rare classes, several images a patient,
color, many classes of unequal size.

The images come from scikit-image (extra `bench`), scikit-learn and the data sets below
`CANDOR_DATA`. A seed draws which. Where there are images enough for a large test split, the folder
has it. Otherwise Candor draws it.
"""

import shutil
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


def rare(folder: Path, data: Path, seed: int) -> None:
    """348 gray radiographs of 256 pixels: 230 without findings, 115 pneumonia, three covid."""
    for name, count in (("no_findings", 230), ("pneumonia", 115), ("covid-19", 3)):
        for path in radiographs(data, name, seed)[:count]:
            _save(folder / name / path.name, np.asarray(Image.open(path)))


def stain(folder: Path, data: Path, seed: int) -> None:
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


def textures(folder: Path, data: Path, seed: int) -> None:
    """977 gray tiles of 32 pixels as PNG, in twelve classes of 200 to 12."""
    from skimage import data as photographs

    for name, count in TEXTURES.items():
        image = getattr(photographs, name)()
        gray = np.asarray(Image.fromarray(image).convert("L"))
        found = tiles(gray, TILE)
        chosen = np.random.default_rng(seed).permutation(len(found))[:count]
        for number in sorted(chosen):
            _save(folder / name / f"{number}.png", found[number])


def blood(folder: Path, data: Path, seed: int) -> None:
    """351 white blood cells of BCCD in five classes; three are of the smallest."""
    _copy(folder, data / "small" / "bccd")


def brain(folder: Path, data: Path, seed: int) -> None:
    """253 slices of brain MRI, with a tumor or without, some of them the same."""
    _copy(folder, data / "small" / "brain")


def unequal(folder: Path, data: Path, seed: int) -> None:
    """Chest radiographs: 200 to train on, 25 of them with covid; the others are test."""
    for name, count in (("no_findings", 90), ("pneumonia", 85), ("covid-19", 25)):
        for number, path in enumerate(radiographs(data, name, seed)):
            split = "train" if number < count else "test"
            _save(folder / split / name / path.name, np.asarray(Image.open(path)))


def few(folder: Path, data: Path, seed: int) -> None:
    """PneumoniaMNIST, 60 to train on and 300 to test."""
    _pneumonia(folder, data, seed, train=(20, 40), test=(100, 200))


def pneumonia(folder: Path, data: Path, seed: int) -> None:
    """PneumoniaMNIST, 300 to train on and 300 to test."""
    _pneumonia(folder, data, seed, train=(78, 222), test=(78, 222))


def healthy(folder: Path, data: Path, seed: int) -> None:
    """PneumoniaMNIST, 400 to train on, of which 24 are normal, and 400 to test."""
    _pneumonia(folder, data, seed, train=(24, 376), test=(24, 376))


def noisy_digits(folder: Path, data: Path, seed: int) -> None:
    """Digits under noise, 293 to train on in ten classes of 90 to 4, and 396 to test."""
    from sklearn.datasets import load_digits

    digits, generator = load_digits(), np.random.default_rng(seed)
    noise = generator.normal(0, 45, digits.images.shape)
    pixels = (digits.images * 12 + noise).clip(0, 255).astype(np.uint8)
    for label, count in enumerate((90, 60, 45, 30, 22, 16, 12, 8, 6, 4)):
        chosen = generator.permutation(np.flatnonzero(digits.target == label))
        for place, number in enumerate(chosen[: count + max(3, int(1.35 * count))]):
            split = "train" if place < count else "test"
            image = Image.fromarray(pixels[number]).resize((28, 28))
            _save(folder / split / str(label) / f"{number}.png", np.asarray(image))


GROUP_PATTERNS = {"blood": "^(.+?)__", "brain": "^(.+?)__"}

FOLDERS: dict[str, Callable[[Path, Path, int], None]] = {
    "rare": rare,
    "stain": stain,
    "textures": textures,
    "blood": blood,
    "brain": brain,
    "unequal": unequal,
    "few": few,
    "pneumonia": pneumonia,
    "healthy": healthy,
    "noisy_digits": noisy_digits,
}


def radiographs(data: Path, name: str, seed: int) -> list[Path]:
    """The different images of a class of chest_xray3, mixed."""
    found = sorted((data / "chest_xray3").glob(f"*/{name}/*.jpg"), key=lambda path: path.name)
    paths = [*{path.read_bytes(): path for path in found}.values()]
    return [paths[place] for place in np.random.default_rng(seed).permutation(len(paths))]


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


def _copy(folder: Path, source: Path) -> None:
    shutil.copytree(source, folder)


def _pneumonia(
    folder: Path, data: Path, seed: int, *, train: tuple[int, int], test: tuple[int, int]
) -> None:
    """Images of the training split, so many of each class, without the shift of its test split."""
    generator = np.random.default_rng(seed)
    with np.load(data / "pneumoniamnist.npz") as arrays:
        images, labels = arrays["train_images"], arrays["train_labels"][:, 0]
    for label, name in enumerate(("normal", "pneumonia")):
        chosen = generator.permutation(np.flatnonzero(labels == label))
        for place, number in enumerate(chosen[: train[label] + test[label]]):
            split = "train" if place < train[label] else "test"
            _save(folder / split / name / f"{number}.png", images[number])
