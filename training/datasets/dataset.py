"""Dataset, Split and ImageSource, and the fingerprint of their content.

Images stay encoded or as raw arrays until a network needs them at its input size.
`model_store.image`, the code that serving runs, converts them, so training and serving cannot see
different pixels.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_store.errors import ImageError
from model_store.image import InputSpec, decode, prepare
from model_store.image.frames import Frames
from model_store.image.gray import Window
from training.datasets.errors import BadDataset
from training.datasets.label_kind import CLASSES, FINDINGS, LabelKind
from training.datasets.table import SPLIT_NAMES, Excluded, Labels, SplitName


class ImageSource(Protocol):
    """A sequence of images, each read when needed."""

    def __len__(self) -> int: ...

    def input(self, index: int, spec: InputSpec) -> NDArray[np.uint8]:
        """Image `index` as the network's input, uint8 (C, H, W)."""

    def encoded(self, index: int) -> bytes:
        """Image `index` as a client would send it; decoding it gives exactly `input`."""

    def digest(self, index: int) -> bytes:
        """Hash of the image's content."""


@dataclass(frozen=True)
class ArrayImages:
    """Images held as one uint8 array, (N, H, W) gray or (N, H, W, 3) RGB."""

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def input(self, index: int, spec: InputSpec) -> NDArray[np.uint8]:
        return prepare(Image.fromarray(self.pixels[index]), spec)

    def encoded(self, index: int) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(self.pixels[index]).save(stream, format="PNG")
        return stream.getvalue()

    def digest(self, index: int) -> bytes:
        return hashlib.sha256(np.ascontiguousarray(self.pixels[index]).data).digest()


@dataclass(frozen=True)
class FileImages:
    """One file per image, opened when needed; `digests` are the SHA-256 of the files, if known."""

    paths: Sequence[Path]
    digests: Sequence[bytes] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def input(self, index: int, spec: InputSpec) -> NDArray[np.uint8]:
        try:
            return decode(self.encoded(index), spec)
        except ImageError as error:
            raise BadDataset(self.paths[index], str(error)) from error

    def encoded(self, index: int) -> bytes:
        return self.paths[index].read_bytes()

    def digest(self, index: int) -> bytes:
        return (
            self.digests[index]
            if self.digests is not None
            else hashlib.sha256(self.encoded(index)).digest()
        )


@dataclass(frozen=True)
class Split:
    """Images and their labels: int64 (N,), indices into the data set's classes, or with findings
    float64 (N, K), 1 present, 0 absent, NaN unknown.

    `groups`, int64 (N,), numbers the patient or slide of each image, with one numbering for all
    splits. An image of unknown group is a group of its own. None if no group is known.
    `names` are the paths of the images below the data set's folder; None if the images are not
    files.
    """

    images: ImageSource
    labels: Labels
    groups: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """Hash of each image's content, in order."""
        return tuple(self.images.digest(index) for index in range(len(self)))

    @property
    def group_count(self) -> int | None:
        """Number of patients or slides; None if unknown."""
        return None if self.groups is None else len(np.unique(self.groups))

    def spread(self, count: int) -> list[int]:
        """Numbers of at most `count` images, evenly spread over the split."""
        return evenly_spread(len(self), count)

    def inputs(
        self, spec: InputSpec, *, start: int = 0, stop: int | None = None
    ) -> NDArray[np.uint8]:
        """Images [start, stop) as network input, uint8 (n, C, H, W)."""
        indices = range(len(self))[start:stop]
        batch = np.empty((len(indices), spec.channels, spec.height, spec.width), np.uint8)
        for row, index in enumerate(indices):
            batch[row] = self.images.input(index, spec)
        return batch


@dataclass(frozen=True)
class Dataset:
    """Splits of labeled images with the same classes or, if it `has_findings`, findings.

    `channels` is 1 for gray and 3 for color images. `size` is their usual longest side in pixels,
    from which the input size of a network is chosen. `fingerprint` is a SHA-256 over classes,
    labels and image content. `window` and `frames` say how DICOM images become input. `excluded`
    lists the images left out; `notes` are sentences for the user who trains on the data. `loaded`
    has the source and the options that load it again; None if it was not loaded from a source.
    """

    name: str
    classes: tuple[str, ...]
    channels: Literal[1, 3]
    size: int
    splits: Mapping[SplitName, Split]
    fingerprint: str
    layout: str = "arrays"
    window: Window | None = None
    frames: Frames = "one"
    excluded: tuple[Excluded, ...] = ()
    notes: tuple[str, ...] = ()
    loaded: dict[str, object] | None = None

    @property
    def has_findings(self) -> bool:
        """Whether an image may have several of the classes, or none."""
        return self.kind is FINDINGS

    @property
    def kind(self) -> LabelKind:
        """What its labels are."""
        return FINDINGS if self.splits["train"].labels.ndim == 2 else CLASSES

    @property
    def counts(self) -> dict[SplitName, list[int]]:
        """Images per class, or with each finding, in each split."""
        return {
            name: label_counts(split.labels, len(self.classes)).tolist()
            for name, split in self.splits.items()
        }


def evenly_spread(size: int, count: int) -> list[int]:
    """At most `count` of the numbers below `size`, evenly spread.

    >>> evenly_spread(10, 4), evenly_spread(2, 4)
    ([0, 3, 6, 9], [0, 1])
    """
    return np.unique(np.linspace(0, size - 1, min(size, count)).astype(int)).tolist()


def label_counts(labels: Labels, classes: int) -> NDArray[np.int64]:
    """Images of each class, or with each finding, (K,).

    >>> label_counts(np.array([0, 2, 2]), 3), label_counts(np.array([[1, np.nan], [1, 0]]), 2)
    (array([1, 0, 2]), array([2, 0]))
    """
    if labels.ndim == 2:
        return np.asarray((labels == 1).sum(axis=0))
    return np.bincount(labels, minlength=classes)


def fingerprint(classes: Sequence[str], splits: Mapping[SplitName, Split]) -> str:
    """SHA-256 (hex) of class names, labels (unknown: -1), pixels, and the order in each split."""
    digest = hashlib.sha256("\0".join(classes).encode())
    for name in SPLIT_NAMES:
        split = splits[name]
        digest.update(name.encode() + np.nan_to_num(split.labels, nan=-1).astype("<i8").tobytes())
        for each in split.digests:
            digest.update(each)
    return digest.hexdigest()
