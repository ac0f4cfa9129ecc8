"""Folds of the training and validation images: every image validates once.

A validation split of a few dozen images determines neither an epoch nor a temperature. So each
network of a committee learns from all folds but one, and is validated on that one. What is chosen
and fitted on validation then comes from out-of-fold answers to all images, and the model answers
with the mean of its networks. Source: cross-validation committees (Parmanto, Munro and Doyle 1996).
"""

import numpy as np
from numpy.typing import NDArray

from calibration.sampling import joined
from calibration.wording import parameter
from training.datasets import Dataset
from training.errors import BadRun

FEW_IMAGES = 1000  # of train and val together, below which the recipe `auto` folds
FOLDS = 5


def pooled_groups(dataset: Dataset) -> NDArray[np.int64] | None:
    """The patients of training and then validation images, (N,), if known."""
    train, val = dataset.splits["train"].groups, dataset.splits["val"].groups
    return None if train is None or val is None else np.concatenate([train, val])


def units(dataset: Dataset) -> NDArray[np.int64]:
    """The patient, or the content, that each pooled image shares with others, (N,)."""
    digests = [*dataset.splits["train"].digests, *dataset.splits["val"].digests]
    groups = pooled_groups(dataset)
    return joined([None] * len(digests) if groups is None else groups.tolist(), digests)


def draw_folds(dataset: Dataset, count: int, *, seed: int) -> list[NDArray[np.int64]]:
    """Numbers of the pooled images in each of `count` folds, ascending; patients and identical
    images stay together, and findings are stratified.

    Raises BadRun if there are fewer patients or contents than folds.
    """
    shared = units(dataset)
    labels = np.concatenate([dataset.splits[name].labels for name in ("train", "val")])
    folds = dataset.kind.parts(labels, shared, (1 / count,) * count, seed=seed)
    if not all(map(len, folds)):
        raise BadRun(
            f"{len(np.unique(shared))} patients or different images make no {count} folds: give "
            f'fewer heads, or validation = "split", in a file for {parameter("config")}'
        )
    return folds
