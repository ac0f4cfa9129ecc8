"""MedMNIST's .npz files: every 2-D set with one label per image, at any of its sizes.

Source: Yang et al., *MedMNIST v2*, Scientific Data 2023; https://medmnist.com. Keys
`{train,val,test}_{images,labels}`, images uint8 (N, H, W) or (N, H, W, 3), labels (N, 1).
Multi-label sets (ChestMNIST) and 3-D sets are refused, by name and by shape. RetinaMNIST, published
for ordinal regression, is read as five classes.
"""

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.wording import counted
from training.datasets.dataset import ArrayImages, Dataset, Split, fingerprint
from training.datasets.errors import BadDataset
from training.datasets.medmnist.published import published_set
from training.datasets.records import SPLIT_NAMES, SplitName


def read_medmnist(path: Path) -> Dataset:
    """The data set in `path`, an .npz of MedMNIST.

    Class names come from the file's own `classes` key, else from the set's name, else `class_0`,
    `class_1`, ... Raises BadDataset if the file is not such an archive. Nothing is unpickled.
    """
    published = published_set(path.stem)
    if published is not None and published.refusal is not None:
        raise BadDataset(path, f"cannot be used: {published.refusal}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadDataset(path, f"not a readable .npz archive ({error})") from error
    splits = {name: _split(path, arrays, name) for name in SPLIT_NAMES}
    classes = _classes(path, arrays, splits)
    pixels = arrays["train_images"]
    channels: Literal[1, 3] = 3 if pixels.ndim == 4 else 1
    return Dataset(
        name=path.stem,
        classes=classes,
        channels=channels,
        size=max(pixels.shape[1:3]),
        splits=splits,
        fingerprint=fingerprint(classes, splits),
        layout="medmnist",
    )


def is_published(dataset: Dataset) -> bool:
    """Whether a data set is a published one, by its name and the sizes of its splits."""
    published = published_set(dataset.name)
    return published is not None and published.counts == tuple(
        len(dataset.splits[name]) for name in SPLIT_NAMES
    )


def _split(path: Path, arrays: dict[str, NDArray[np.generic]], name: SplitName) -> Split:
    missing = [key for key in (f"{name}_images", f"{name}_labels") if key not in arrays]
    if missing:
        raise BadDataset(
            path,
            f"has no {' or '.join(missing)}; a MedMNIST file has images and labels for every split",
        )
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
    if (
        images.dtype != np.uint8
        or images.ndim not in (3, 4)
        or (images.ndim == 4 and images.shape[3] != 3)
    ):
        found = f"{images.dtype} {images.shape}"
        raise BadDataset(
            path, f"{name}_images are {found}; expected uint8 (N, H, W) or (N, H, W, 3)"
        )
    if labels.ndim == 2 and labels.shape[1] > 1:
        found = f"{labels.shape[1]} labels per image"
        raise BadDataset(
            path,
            f"{name}_labels has {found}; expected one integer per image, multi-label sets cannot "
            "be used",
        )
    if labels.size != len(images) or not np.issubdtype(labels.dtype, np.integer):
        found = f"{labels.dtype} {labels.shape}"
        raise BadDataset(
            path,
            f"{name}_labels are {found} for {len(images)} images; expected one integer per image",
        )
    return Split(
        ArrayImages(images.astype(np.uint8, copy=False)), labels.reshape(-1).astype(np.int64)
    )


def _classes(
    path: Path, arrays: dict[str, NDArray[np.generic]], splits: dict[SplitName, Split]
) -> tuple[str, ...]:
    """Names for the labels 0..K-1, where K - 1 is the largest label of any split."""
    if any(len(split) == 0 for split in splits.values()):
        raise BadDataset(path, "has an empty split")
    if min(int(split.labels.min()) for split in splits.values()) < 0:
        raise BadDataset(path, "has a negative label")
    count = 1 + max(int(split.labels.max()) for split in splits.values())
    published = published_set(path.stem)
    names = published.classes if published is not None else None
    if "classes" in arrays:
        names = tuple(str(name) for name in arrays["classes"])
    if names is None:
        return tuple(f"class_{label}" for label in range(count))
    if len(names) < count:
        raise BadDataset(
            path, f"has labels up to {count - 1} but names only {counted(len(names), 'class')}"
        )
    return names
