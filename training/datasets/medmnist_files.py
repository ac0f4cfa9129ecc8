"""MedMNIST's .npz files: every 2-D set, at any of its sizes.

Source: Yang et al., *MedMNIST v2*, Scientific Data 2023; https://medmnist.com. Keys
`{train,val,test}_{images,labels}`, images uint8 (N, H, W) or (N, H, W, 3), labels (N, 1)
or, for findings, (N, K): 1 present, 0 absent, -1 uncertain, NaN unknown. 3-D sets are refused, by
name and by shape. RetinaMNIST, published
for ordinal regression, is read as five classes.

Downloads come from the published addresses and are checked by their published MD5.
"""

import hashlib
import http.client
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from calibration.findings.labels import UNCERTAIN, FindingLabels
from calibration.wording import counted
from training.datasets.assembly import small_classes
from training.datasets.dataset import ArrayImages, Dataset, Split, fingerprint
from training.datasets.errors import BadDataset, DataNotFound
from training.datasets.finding_labels import chosen_findings, decide, require_classes
from training.datasets.label_kind import CLASSES
from training.datasets.medmnist_sets import MD5, published_set
from training.datasets.records import SPLIT_NAMES, LoadedFrom, SplitName
from training.progress import Progress, silent


def read_medmnist(path: Path, options: LoadedFrom) -> Dataset:
    """The data set in `path`, an .npz of MedMNIST.

    Names come from the file's own `classes` key, else from the set's name, else `class_0`,
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
    classes, splits, notes = _decided(path, arrays, splits, options)
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
        notes=notes,
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
    if images.dtype != np.uint8 or not (images.ndim == 3 or images.shape[3:] == (3,)):
        raise BadDataset(
            path,
            f"{name}_images are {images.dtype} {images.shape}; expected uint8 (N, H, W) or (N, H, "
            "W, 3)",
        )
    several = labels.ndim == 2 and labels.shape[1] > 1 and len(labels) == len(images)
    if several and np.isin(labels[~np.isnan(labels.astype(float))], (0, 1, UNCERTAIN)).all():
        return Split(ArrayImages(images.astype(np.uint8, copy=False)), labels.astype(np.float64))
    if labels.size != len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise BadDataset(
            path,
            f"{name}_labels are {labels.dtype} {labels.shape} for {len(images)} images; expected "
            "one integer per image, or for findings (N, K) with 1, 0, -1 and NaN",
        )
    return Split(
        ArrayImages(images.astype(np.uint8, copy=False)), labels.reshape(-1).astype(np.int64)
    )


def _decided(
    path: Path,
    arrays: dict[str, NDArray[np.generic]],
    splits: dict[SplitName, Split],
    options: LoadedFrom,
) -> tuple[tuple[str, ...], dict[SplitName, Split], tuple[str, ...]]:
    """Names, splits and notes; labels (N, K) are findings, or classes if they are one-hot."""
    shapes = {split.labels.shape[1:] for split in splits.values()}
    if shapes == {()}:
        require_classes(path, options, "has one label for each image; findings need labels (N, K)")
        classes = _classes(path, arrays, splits)
        return classes, splits, tuple(small_classes(path, classes, splits, kind=CLASSES))
    if len(shapes) > 1:
        raise BadDataset(path, f"has labels of several shapes: {sorted(shapes)}")
    (count,) = shapes.pop()
    names = _names(path, arrays, count)
    if len(names) != count:
        raise BadDataset(path, f"names {len(names)} findings, and its labels have {count} columns")
    chosen = chosen_findings(options) or list(names)
    if missing := [name for name in chosen if name not in names]:
        raise BadDataset(path, f"has no finding {missing[0]!r}; it has {', '.join(names)}")
    columns = [names.index(name) for name in chosen]
    together = np.concatenate([split.labels for split in splits.values()])[:, columns]
    found = decide(path, FindingLabels(tuple(chosen), together), options)
    labels = np.array(found.values, found.kind.dtype)
    ends = np.cumsum([len(split) for split in splits.values()])[:-1]
    parts = zip(splits.items(), np.split(labels, ends), strict=True)
    labeled = {name: Split(split.images, part) for (name, split), part in parts}
    small = small_classes(path, found.names, labeled, kind=found.kind)
    return found.names, labeled, (*found.notes, *small)


def _classes(
    path: Path, arrays: dict[str, NDArray[np.generic]], splits: dict[SplitName, Split]
) -> tuple[str, ...]:
    """Names for the labels 0..K-1, where K - 1 is the largest label of any split."""
    if any(len(split) == 0 for split in splits.values()):
        raise BadDataset(path, "has an empty split")
    if min(int(split.labels.min()) for split in splits.values()) < 0:
        raise BadDataset(path, "has a negative label")
    return _names(path, arrays, 1 + max(int(split.labels.max()) for split in splits.values()))


def _names(path: Path, arrays: dict[str, NDArray[np.generic]], count: int) -> tuple[str, ...]:
    """Names for labels 0..count-1: those of the file, of the published set, or numbers."""
    published = published_set(path.stem)
    names = published.classes if published is not None else None
    if "classes" in arrays:
        names = tuple(normalize("NFC", str(name)) for name in arrays["classes"])
    if names is None:
        return tuple(f"class_{label}" for label in range(count))
    if len(names) < count:
        raise BadDataset(
            path, f"has labels up to {count - 1} but names only {counted(len(names), 'class')}"
        )
    return names


ADDRESS = "https://zenodo.org/records/10519652/files/{name}.npz?download=1"
MAX_SIZE_BYTES = 1 << 35  # the largest, TissueMNIST at 224 pixels, has some 12 GB
BLOCK_BYTES = 1 << 18


def download_medmnist(
    name: str,
    folder: Path,
    *,
    address: str = ADDRESS,
    timeout_s: float = 20.0,
    progress: Progress = silent,
) -> Path:
    """Path of `{name}.npz` in `folder`; downloads the file unless it is there with the right MD5.

    The file appears only when it is complete and its MD5 is right. Raises DataNotFound, saying what
    to do, if the name has no published MD5, the network does not answer, or the downloaded file is
    not the published one.
    """
    published = published_set(name)
    if published is not None and published.refusal is not None:
        raise BadDataset(name, f"cannot be used: {published.refusal}")
    if name not in MD5:
        raise DataNotFound(f"no published address for {name!r}; known: {', '.join(sorted(MD5))}")
    target = folder / f"{name}.npz"
    if target.is_file() and _md5(target) == MD5[name]:
        return target
    url = address.format(name=name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as scratch:
            part = Path(scratch) / "part"
            _fetch(url, part, timeout_s=timeout_s, progress=progress)
            if (digest := _md5(part)) != MD5[name]:
                raise OSError(f"got MD5 {digest}, expected {MD5[name]}: not the published file")
            part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise DataNotFound(
            f"could not download {url} ({error}); fetch {name}.npz from "
            "https://doi.org/10.5281/zenodo.10519652 in another way and give its path, or use "
            "`digits`, which needs no network"
        ) from error
    return target


def _fetch(url: str, path: Path, *, timeout_s: float, progress: Progress) -> None:
    with urllib.request.urlopen(url, timeout=timeout_s) as answer, path.open("wb") as stream:
        expected = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while block := answer.read(BLOCK_BYTES):
            done += len(block)
            if done > MAX_SIZE_BYTES:
                raise OSError(f"got more than {MAX_SIZE_BYTES} bytes")
            stream.write(block)
            progress("download", done, max(expected, done))


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
