"""A plain image folder: {train,val,test}/{class}/*.jpg, or {class}/*.jpg without splits.

The folder's own splits are kept. Without `val`, a fifth of `train` becomes it; without any split all images are
divided 64 : 16 : 20. Both are stratified and depend only on the sorted file names and the seed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.datasets.dataset import SPLIT_NAMES, Dataset, FileImages, Split, SplitName, fingerprint
from training.datasets.sampling import stratified_parts
from training.errors import BadDataset

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
VAL_SHARE = 0.2  # the paper's 4:1
TEST_SHARE = 0.2
SAMPLE = 32  # images opened to learn channels and size
GRAY_MODES = ("1", "L", "I", "F")


Listing = tuple[list[Path], NDArray[np.int64]]  # files and their labels (N,)


def read_folder(root: Path, *, seed: int) -> Dataset:
    """The data set in `root`; `seed` matters only where a split has to be drawn.

    Raises BadDataset for fewer than two classes, or a class without images in one of the splits.
    """
    given: list[SplitName] = [name for name in SPLIT_NAMES if (root / name).is_dir()]
    if not {"train", "test"} <= set(given):
        given = []
    classes = _classes(root, [root / name for name in given] or [root])
    listings = {name: _list(root / name, classes) for name in given} or _draw(_list(root, classes), seed=seed)
    if "val" not in listings:
        listings["train"], listings["val"] = _parts(listings["train"], (1 - VAL_SHARE, VAL_SHARE), seed=seed)
    splits = {name: Split(FileImages(listings[name][0]), listings[name][1]) for name in SPLIT_NAMES}
    channels, size = _look(listings["train"][0])
    return Dataset(root.resolve().name, classes, channels, size, splits, fingerprint(classes, splits))


def _classes(root: Path, folders: Sequence[Path]) -> tuple[str, ...]:
    """Names of the class folders, which every split must have alike."""
    found = {folder: tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir())) for folder in folders}
    classes = found[folders[0]]
    if len(classes) < 2:
        raise BadDataset(folders[0], f"has {len(classes)} class folders; expected one folder for each of two or more")
    for folder, names in found.items():
        if names != classes:
            raise BadDataset(folder, f"has the classes {', '.join(names)}, but {root}/train has {', '.join(classes)}")
    return classes


def _list(folder: Path, classes: Sequence[str]) -> Listing:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = sorted(path for path in (folder / name).iterdir() if path.suffix.lower() in SUFFIXES)
        if not images:
            raise BadDataset(folder / name, f"has no images; looked for {', '.join(sorted(SUFFIXES))}")
        paths += images
        labels += [label] * len(images)
    return paths, np.array(labels, np.int64)


def _draw(listing: Listing, *, seed: int) -> dict[SplitName, Listing]:
    train, test = _parts(listing, (1 - TEST_SHARE, TEST_SHARE), seed=seed)
    return {"train": train, "test": test}


def _parts(listing: Listing, shares: tuple[float, float], *, seed: int) -> tuple[Listing, Listing]:
    paths, labels = listing
    first, second = stratified_parts(labels, shares, seed=seed)
    return ([paths[i] for i in first], labels[first]), ([paths[i] for i in second], labels[second])


def _look(paths: Sequence[Path]) -> tuple[Literal[1, 3], int]:
    """Channels and the median longest side of a few images; one colour image among them makes the set colour."""
    sides: list[int] = []
    channels: Literal[1, 3] = 1
    for path in paths[:: max(1, len(paths) // SAMPLE)]:
        with Image.open(path) as image:
            sides.append(max(image.size))
            if not image.mode.startswith(GRAY_MODES):
                channels = 3
    return channels, int(np.median(sides))
