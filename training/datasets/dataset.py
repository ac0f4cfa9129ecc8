"""The nouns of labelled images: Dataset, Split, ImageSource, and the fingerprint that names their content.

Images stay encoded or as raw arrays until a network asks for them at its own input size; they become input through
`model_store.image`, the code that serving runs, so that training and serving cannot see different pixels.
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
from training.datasets.errors import BadDataset
from training.datasets.records import SPLIT_NAMES, Excluded, Frames, SplitName, Window


class ImageSource(Protocol):
    """A sequence of images, read one at a time."""

    def __len__(self) -> int: ...

    def input(self, index: int, spec: InputSpec) -> NDArray[np.uint8]:
        """Image `index` as the network's input, uint8 (C, H, W)."""

    def encoded(self, index: int) -> bytes:
        """Image `index` as the file a client would send: decoding it gives exactly `input`."""

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
    """Images in files of their own, opened when asked for; `digests` are their SHA-256, where already known."""

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
        return self.digests[index] if self.digests is not None else hashlib.sha256(self.encoded(index)).digest()


@dataclass(frozen=True)
class Split:
    """Images and their labels, int64 (N,), indices into the data set's classes.

    `groups`, int64 (N,), numbers each image's patient or slide, alike in all splits of a data set; one of
    which nothing is known is alone in its group. None if no image's group is known.
    `names` are the images' paths below the data set's folder; None if the images are no files.
    """

    images: ImageSource
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images but {len(self.labels)} labels")
        for noun, each in (("groups", self.groups), ("names", self.names)):
            if each is not None and len(each) != len(self.labels):
                raise ValueError(f"{len(self.labels)} images but {len(each)} {noun}")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """Hash of each image's content, in order."""
        return tuple(self.images.digest(index) for index in range(len(self)))

    def inputs(self, spec: InputSpec, *, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Images [start, stop) as network input, uint8 (n, C, H, W)."""
        indices = range(len(self))[start:stop]
        batch = np.empty((len(indices), spec.channels, spec.height, spec.width), np.uint8)
        for row, index in enumerate(indices):
            batch[row] = self.images.input(index, spec)
        return batch


@dataclass(frozen=True)
class Dataset:
    """Splits of labelled images that share their classes.

    `channels` is what the images carry (1 gray, 3 colour); `size` their usual longest side in pixels, from which a
    network's input size can be chosen; `fingerprint` a SHA-256 over classes, labels and image content. `window` and
    `frames` belong to the model's input where the images are DICOM. `excluded` are the images left out, `notes` what
    whoever trains on the data should know, in sentences.
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

    @property
    def counts(self) -> dict[SplitName, list[int]]:
        """Images per class in each split."""
        bins = len(self.classes)
        return {name: np.bincount(split.labels, minlength=bins).tolist() for name, split in self.splits.items()}


def fingerprint(classes: Sequence[str], splits: Mapping[SplitName, Split]) -> str:
    """SHA-256 (hex) that changes with any class name, label, pixel, or the order of images in a split."""
    digest = hashlib.sha256("\0".join(classes).encode())
    for name in SPLIT_NAMES:
        split = splits[name]
        digest.update(name.encode() + split.labels.astype("<i8").tobytes())
        for each in split.digests:
            digest.update(each)
    return digest.hexdigest()
