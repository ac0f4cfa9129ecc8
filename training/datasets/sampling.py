"""Random partitions of labelled images that keep the share of each class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stratified_parts(labels: NDArray[np.int64], shares: Sequence[float], *, seed: int) -> list[NDArray[np.int64]]:
    """Indices of disjoint parts that together cover `labels` (N,), each with every class in its share.

    `shares` sum to 1. Rounding goes to the nearest image of each class; indices come back ascending, so that a part
    does not depend on anything but labels, shares and seed.

    >>> [part.tolist() for part in stratified_parts(np.array([0, 0, 0, 0, 1, 1, 1, 1]), (0.75, 0.25), seed=0)]
    [[0, 1, 2, 5, 6, 7], [3, 4]]
    """
    generator = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in shares]
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        edges = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(int)
        for part, chosen in zip(parts, np.split(members, edges), strict=True):
            part.append(chosen)
    return [np.sort(np.concatenate(part)) for part in parts]
