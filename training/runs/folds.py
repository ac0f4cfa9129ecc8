"""Folds of the training and validation images: every image validates once.

A validation split of a few dozen images determines neither an epoch nor a temperature. So each
network of an ensemble learns from all folds but one, and is validated on that one. What is chosen
and fitted on validation then comes from out-of-fold answers to all images, and the model answers
with the mean of its networks. Source: cross-validation committees (Parmanto, Munro and Doyle 1996).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.sampling import joined
from calibration.wording import parameter
from model_store.image import InputSpec
from training.datasets import Dataset, Split
from training.datasets.dataset import ImageSource
from training.errors import BadRun
from training.fitting.examples import Examples

FEW_IMAGES = 1000  # of train and val together, below which the recipe `auto` folds
FOLDS = 5


@dataclass(frozen=True)
class JoinedImages:
    """The images of `first`, then those of `second`."""

    first: ImageSource
    second: ImageSource

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def _at(self, index: int) -> tuple[ImageSource, int]:
        size = len(self.first)
        return (self.first, index) if index < size else (self.second, index - size)

    def input(self, index: int, spec: InputSpec) -> NDArray[np.uint8]:
        source, place = self._at(index)
        return source.input(place, spec)

    def encoded(self, index: int) -> bytes:
        source, place = self._at(index)
        return source.encoded(place)

    def digest(self, index: int) -> bytes:
        source, place = self._at(index)
        return source.digest(place)


def pooled_split(dataset: Dataset) -> Split:
    """Training and then validation images as one split."""
    train, val = dataset.splits["train"], dataset.splits["val"]
    groups = None
    if train.groups is not None and val.groups is not None:
        groups = np.concatenate([train.groups, val.groups])
    labels = np.concatenate([train.labels, val.labels])
    return Split(JoinedImages(train.images, val.images), labels, groups)


def pooled_examples(train: Examples, val: Examples) -> Examples:
    """Training and then validation examples as one, in memory."""
    inputs = np.concatenate([np.asarray(each.inputs) for each in (train, val)])
    return replace(train, inputs=inputs, labels=np.concatenate([train.labels, val.labels]))


def units(dataset: Dataset) -> NDArray[np.int64]:
    """The patient, or the content, that each pooled image shares with others, (N,)."""
    train, val = dataset.splits["train"], dataset.splits["val"]
    groups = pooled_split(dataset).groups
    known = [None] * (len(train) + len(val)) if groups is None else groups.tolist()
    return joined(known, [*train.digests, *val.digests])


def draw_folds(dataset: Dataset, count: int, *, seed: int) -> list[NDArray[np.int64]]:
    """Numbers of the pooled images in each of `count` folds, ascending; patients and identical
    images stay together, and findings are stratified.

    Raises BadRun if there are fewer patients or contents than folds.
    """
    shared, labels = units(dataset), pooled_split(dataset).labels
    folds = dataset.kind.parts(labels, shared, (1 / count,) * count, seed=seed)
    if not all(map(len, folds)):
        raise BadRun(
            f"{len(np.unique(shared))} patients or different images make no {count} folds: give "
            f'fewer heads, or validation = "split", in a file for {parameter("config")}'
        )
    return folds


def divided(pool: Examples, fold: NDArray[np.int64]) -> tuple[Examples, Examples]:
    """The examples outside a fold, to learn from, and those inside, to validate on."""
    rest = np.setdiff1d(np.arange(len(pool)), fold)
    return pool.chosen(rest), pool.chosen(fold)
