"""Inputs and labels of a fit, in memory or memory-mapped, and their order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Inputs = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True)
class Examples:
    """Inputs of the trained module, (N, ...), float32 features or uint8 images, and labels int64 (N,).

    `views` are augmented inputs of the same images, in the same shape. With V views, training draws one of the 1 + V
    for each image and epoch. Evaluation uses `inputs`.
    """

    inputs: Inputs
    labels: NDArray[np.int64]
    views: Sequence[Inputs] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: NDArray[np.int64], views: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
        """Inputs (n, ...) and labels (n,) of the images at `indices`, each in its view of `views` (n,), if given."""
        inputs = self.inputs[indices]
        if views is not None:
            for row in np.flatnonzero(views):
                inputs[row] = self.views[views[row] - 1][indices[row]]
        return torch.from_numpy(inputs), torch.from_numpy(self.labels[indices])

    def draw_views(self, order: np.random.Generator) -> NDArray[np.int64] | None:
        """A random view for each image, int64 (N,) in 0..V; None, without a draw, if there are no further views."""
        return order.integers(1 + len(self.views), size=len(self)) if self.views else None


def batches(order: np.random.Generator, count: int, *, size: int, processes: int = 1) -> Iterator[NDArray[np.int64]]:
    """Shuffled indices in batches. A last batch of fewer than two images, or fewer than `processes`, is left out.

    Batch norm cannot train on a single image.

    >>> [len(batch) for batch in batches(np.random.default_rng(0), 9, size=4)]
    [4, 4]
    """
    indices = order.permutation(count)
    for start in range(0, count, size):
        batch = indices[start : start + size]
        if len(batch) >= max(2, processes):
            yield batch
