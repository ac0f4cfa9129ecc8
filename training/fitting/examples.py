"""NetworkInputs and labels of a fit, in memory, memory-mapped or decoded when needed, and their
order.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibration.sampling import grouped_parts, stratified_parts
from training.features.augmentation import Augmentation
from training.features.inputs import NetworkInputs
from training.fitting.schedule import Sampler

FEATURES_AT_ONCE, STREAMED_AT_ONCE = 256, 64
Wanted = TypeVar("Wanted")
Loaded = TypeVar("Loaded")


class Epochs(NamedTuple):
    """What an augmentation depends on besides the image: the `seed` of the fit and the number of
    the epoch.
    """

    seed: int
    epoch: int


@dataclass(frozen=True)
class Examples:
    """NetworkInputs of the trained module, (N, ...), float32 features or uint8 images, and labels
    int64 (N,).

    `views` are augmented inputs of the same images, in the same shape. With V views, training draws
    one of the 1 + V for each image and epoch. `augmentation` changes images again in each epoch.
    Evaluation uses `inputs` alone. `streamed` means that reading takes time, so the next batch is
    read while the current one is in the network. `groups` int64 (N,) are patients or slides, if
    known.
    """

    inputs: NetworkInputs
    labels: NDArray[np.int64]
    views: Sequence[NetworkInputs] = ()
    augmentation: Augmentation | None = None
    streamed: bool = False
    test_views: Sequence[NetworkInputs] = ()
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def at_once(self) -> int:
        """How many inputs to predict at a time: fewer where whole networks make larger maps of
        them.
        """
        return STREAMED_AT_ONCE if self.streamed else FEATURES_AT_ONCE

    def batch(
        self,
        indices: NDArray[np.int64],
        views: NDArray[np.int64] | None = None,
        when: Epochs | None = None,
    ) -> tuple[Tensor, Tensor]:
        """NetworkInputs (n, ...) and labels (n,) of the images at `indices`, for training if `when`
        is given.

        Each is in its view of `views` (n,), if given.
        """
        inputs = np.array(self.inputs[indices])
        if views is not None:
            for view in np.unique(views[views > 0]):
                rows = np.flatnonzero(views == view)
                inputs[rows] = self.views[view - 1][indices[rows]]
        if self.augmentation and when:
            inputs = self.augmentation.apply(inputs, indices, seed=when.seed, epoch=when.epoch)
        return torch.from_numpy(inputs), torch.from_numpy(self.labels[indices])

    def pooled(self) -> "Examples":
        """The same with the mean of each feature map in its place, (N, C, 1, 1), in memory."""
        views, test_views = (
            [_pooled(view) for view in views] for views in (self.views, self.test_views)
        )
        return replace(self, inputs=_pooled(self.inputs), views=views, test_views=test_views)

    def draw_views(self, order: np.random.Generator) -> NDArray[np.int64] | None:
        """A random view for each image, int64 (N,) in 0..V; None, without a draw, if there are no
        further views.
        """
        return order.integers(1 + len(self.views), size=len(self)) if self.views else None


def set_apart(
    examples: Examples, share: float, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the images to learn and of those to hold out, about `share` of each class, drawn
    by `seed`.

    The images of a group stay together: a patient that was learned tells too little about others.

    >>> [len(part) for part in set_apart(Examples(np.zeros((50, 1), np.float32), np.arange(50) % 2), 0.2, seed=0)]
    [40, 10]
    """
    labels, groups, shares = examples.labels, examples.groups, (1 - share, share)
    if share == 0:
        return np.arange(len(labels)), np.arange(0)
    if groups is None:
        learned, held = stratified_parts(labels, shares, seed=seed)
    else:
        learned, held = grouped_parts(labels, groups, shares, seed=seed)
    return learned, held


def drawn(
    order: np.random.Generator, labels: NDArray[np.int64], sampler: Sampler
) -> NDArray[np.int64]:
    """The images of an epoch, (N,): each once, or as many drawn with replacement so that classes
    are equally frequent.

    >>> labels = np.repeat([0, 1], [900, 100])
    >>> chosen = labels[drawn(np.random.default_rng(0), labels, "balanced")]
    >>> len(chosen), round(chosen.mean(), 1)
    (1000, np.float64(0.5))
    """
    if sampler == "shuffled":
        return order.permutation(len(labels))
    counts = np.bincount(labels)
    share = 1 / (np.count_nonzero(counts) * counts[labels])
    return order.choice(len(labels), size=len(labels), p=share)


def batches(
    indices: NDArray[np.int64], *, size: int, processes: int = 1
) -> Iterator[NDArray[np.int64]]:
    """`indices` in batches. A last batch of fewer than two images, or fewer than `processes`, is
    left out.

    Batch norm cannot train on a single image.

    >>> [len(batch) for batch in batches(np.arange(9), size=4)]
    [4, 4]
    """
    for start in range(0, len(indices), size):
        batch = indices[start : start + size]
        if len(batch) >= max(2, processes):
            yield batch


def ahead(load: Callable[[Wanted], Loaded], wanted: Iterable[Wanted]) -> Iterator[Loaded]:
    """What `load` returns for each of `wanted`, in order; the next is loaded while the caller
    works.

    >>> list(ahead(lambda number: number + 1, [1, 2, 3]))
    [2, 3, 4]
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for each in wanted:
            coming = pool.submit(load, each)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()


def _pooled(maps: NetworkInputs) -> NDArray[np.float32]:
    """Means over the positions of maps (N, C, h, w), as maps (N, C, 1, 1).

    >>> _pooled(np.array([[[[1.0, 3.0]]]], np.float32)).tolist()
    [[[[2.0]]]]
    """
    portions = np.array_split(np.arange(len(maps)), max(1, len(maps) // FEATURES_AT_ONCE))
    return np.concatenate(
        [np.array(maps[numbers]).mean(axis=(2, 3), keepdims=True) for numbers in portions]
    )
