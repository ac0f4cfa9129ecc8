"""A labeled sample from the place of use that replaces validation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.sampling import grouped_parts
from model_store.image import InputSpec
from training.datasets import SPLIT_NAMES, Dataset, ImageSource, Split, fingerprint, load_dataset
from training.datasets.errors import BadDataset

FROM_TEST = "test:"


@dataclass(frozen=True)
class ChosenImages:
    """A selection of images from several sources."""

    sources: tuple[ImageSource, ...]
    places: tuple[tuple[int, int], ...]  # source, and index in that source

    def __len__(self) -> int:
        return len(self.places)

    def input(self, index: int, spec: InputSpec) -> NDArray[np.uint8]:
        source, place = self.places[index]
        return self.sources[source].input(place, spec)

    def encoded(self, index: int) -> bytes:
        source, place = self.places[index]
        return self.sources[source].encoded(place)

    def digest(self, index: int) -> bytes:
        source, place = self.places[index]
        return self.sources[source].digest(place)


def with_reference(dataset: Dataset, reference: str, *, cache: Path | None = None) -> Dataset:
    """`dataset` with the sample `reference` as its validation split.

    `reference` is a data set with the same classes, whose splits are joined, or `test:N`: about N
    images of the test split, which keeps the others. Raises BadDataset and DataNotFound.
    """
    if reference.startswith(FROM_TEST):
        return _from_test(dataset, reference)
    other = load_dataset(reference, cache=cache)
    if other.classes != dataset.classes:
        raise BadDataset(
            reference,
            f"its classes are {', '.join(other.classes)}; expected {', '.join(dataset.classes)}",
        )
    sample = _joined([other.splits[name] for name in SPLIT_NAMES])
    shared = set(sample.digests) & set(dataset.splits["test"].digests)
    if shared:
        raise BadDataset(
            reference,
            f"{len(shared)} of its images are in the test split; remove them from one of the two",
        )
    return _replaced(dataset, val=sample, name=reference)


def _from_test(dataset: Dataset, reference: str) -> Dataset:
    test, asked = dataset.splits["test"], reference.removeprefix(FROM_TEST)
    if not asked.isdigit() or not 0 < int(asked) < len(test):
        raise BadDataset(
            reference,
            f"expected test:N with N from 1 to {len(test) - 1}, the number of images of the test "
            "split less one",
        )
    share = int(asked) / len(test)
    units = np.arange(len(test)) if test.groups is None else test.groups  # patients stay together
    taken, left = grouped_parts(test.labels, units, (share, 1 - share), seed=0)
    return _replaced(dataset, val=_some(test, taken), test=_some(test, left), name=reference)


def _replaced(dataset: Dataset, *, name: str, **splits: Split) -> Dataset:
    changed = {split: splits.get(split, dataset.splits[split]) for split in SPLIT_NAMES}
    return replace(
        dataset,
        name=f"{dataset.name}, validated on {name}",
        splits=changed,
        fingerprint=fingerprint(dataset.classes, changed),
    )


def _some(split: Split, indices: NDArray[np.int64]) -> Split:
    """The images of `split` at `indices`."""
    images = ChosenImages((split.images,), tuple((0, int(index)) for index in indices))
    groups = None if split.groups is None else split.groups[indices]
    return Split(images, split.labels[indices], groups)


def _joined(splits: Sequence[Split]) -> Split:
    """The images of several splits, one after the other, with their groups if all have them."""
    places = tuple(
        (number, index) for number, split in enumerate(splits) for index in range(len(split))
    )
    images = ChosenImages(tuple(split.images for split in splits), places)
    known = [split.groups for split in splits if split.groups is not None]
    groups = np.concatenate(known) if len(known) == len(splits) else None
    return Split(images, np.concatenate([split.labels for split in splits]), groups)
