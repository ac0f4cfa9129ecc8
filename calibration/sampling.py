"""Random partitions of labeled images that keep the classes' shares and whole groups."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def stratified_parts(
    labels: NDArray[np.int64], shares: Sequence[float], *, seed: int
) -> list[NDArray[np.int64]]:
    """Indices of disjoint parts that cover `labels` (N,), each part with its share of every class.

    `shares` sum to 1; counts are rounded per class. Indices are ascending, so a part depends only
    on labels, shares and seed.

    >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> [part.tolist() for part in stratified_parts(labels, (0.75, 0.25), seed=0)]
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


def grouped_parts(
    labels: NDArray[np.int64], groups: NDArray[np.int64], shares: Sequence[float], *, seed: int
) -> list[NDArray[np.int64]]:
    """Like `stratified_parts`, but images (N,) of one group stay together.

    Groups come in random order; ordered by size, the large patients would all end up in one part.
    Each group goes to the part that is emptiest, relative to its share, in the group's classes,
    unless it would overfill that part by more than half the group. If no two images share a group,
    the result is that of `stratified_parts`.

    >>> labels, groups = np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.array([5, 5, 5, 5, 7, 7, 7, 7])
    >>> [part.tolist() for part in grouped_parts(labels, groups, (0.5, 0.5), seed=0)]
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    """
    _, unit, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if sizes.max(initial=0) <= 1:
        return stratified_parts(labels, shares, seed=seed)
    brought = np.zeros((len(sizes), int(labels.max()) + 1))  # (groups, classes)
    np.add.at(brought, (unit, labels), 1.0)
    target = np.outer(shares, brought.sum(axis=0))  # (parts, classes)
    room, total = target.copy(), target.sum(axis=1)
    part_of = np.empty(len(sizes), np.int64)
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        fits = room.sum(axis=1) >= sizes[group] / 2
        emptiness = (brought[group] * room / np.maximum(target, 1e-12)).sum(axis=1)
        chosen = (
            np.argmax(np.where(fits, emptiness, -np.inf))
            if fits.any()
            else np.argmax(room.sum(axis=1) / total)
        )
        part_of[group] = chosen
        room[chosen] -= brought[group]
    return [np.flatnonzero(part_of[unit] == part) for part in range(len(shares))]


def findings_parts(
    labels: NDArray[np.float64], groups: NDArray[np.int64], shares: Sequence[float], *, seed: int
) -> list[NDArray[np.int64]]:
    """Like `grouped_parts` for findings (N, K), 1, 0 or NaN: each part gets its share of the
    positives of each finding, the rarest first.

    Source: iterative stratification, Sechidis, Tsoumakas and Vlahavas 2011, with groups as units.

    >>> labels = np.array([[1, 0], [1, 1], [0, 1], [0, np.nan]] * 4)
    >>> parts = findings_parts(labels, np.arange(16), (0.75, 0.25), seed=0)
    >>> [(labels[part] == 1).sum(axis=0).tolist() for part in parts]
    [[6, 6], [2, 2]]
    """
    _, unit, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    brought = np.zeros((len(sizes), labels.shape[1]))  # positives, (groups, findings)
    np.add.at(brought, unit, labels == 1)
    totals = brought.sum(axis=0)
    rarity = np.where(brought > 0, totals, np.inf)
    rarest, few = rarity.argmin(axis=1), rarity.min(axis=1)
    room, space = np.outer(shares, totals), np.outer(shares, [len(labels)])[:, 0]
    part_of = np.empty(len(sizes), np.int64)
    for group in np.lexsort((np.random.default_rng(seed).random(len(sizes)), few)):
        wanted = room[:, rarest[group]] if np.isfinite(few[group]) else space
        chosen = max(range(len(shares)), key=lambda part: (wanted[part], space[part]))
        part_of[group] = chosen
        room[chosen] -= brought[group]
        space[chosen] -= sizes[group]
    return [np.flatnonzero(part_of[unit] == part) for part in range(len(shares))]


def joined(*keys: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """Number of each item's set, int64 (N,); items that share a key are in one set.

    >>> joined(["a", "a", None, "b"], [1, 2, 3, 2]).tolist()
    [0, 0, 2, 0]
    """
    parent = list(range(len(keys[0])))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for values in keys:
        first: dict[Hashable, int] = {}
        for item, value in enumerate(values):
            if value is not None:
                low, high = sorted((root(first.setdefault(value, item)), root(item)))
                parent[high] = low
    return np.array([root(item) for item in range(len(parent))], np.int64)
