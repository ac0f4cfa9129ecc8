"""What a fitted map gives to labeled answers that it was fitted without (cross-fitting).

Each fold of the answers goes through a map that was fitted on the others, as in CV+ (Barber et al.
2021): labels flatter the map that was fitted on them.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

FOLDS: Final = 5
Rows = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Groups: TypeAlias = npt.NDArray[Any] | None
_CRITICAL = 2.0  # standard errors


def fold_numbers(
    labels: npt.NDArray[np.generic],
    groups: npt.ArrayLike | None,
    *,
    seed: int | np.random.Generator,
    count: int = FOLDS,
) -> npt.NDArray[np.int64]:
    """Return the fold (N,) of each answer, below `count`; folds have even shares of the labels.

    The answers of a group (N,) are in one fold. ValueError for fewer answers or groups than folds,
    or than two.

    >>> fold_numbers(np.array([0, 0, 1, 1]), None, seed=0, count=2).tolist()
    [1, 0, 1, 0]
    """
    _, first, units = np.unique(
        np.arange(len(labels)) if groups is None else np.asarray(groups),
        return_index=True,
        return_inverse=True,
    )
    if len(first) < max(count, 2):
        raise ValueError(
            f"cross-validation needs at least {max(count, 2)} answers or groups; got {len(first)}"
        )
    # a group is placed by the label of its first answer
    order = np.lexsort((np.random.default_rng(seed).random(len(first)), labels[first]))
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % count
    return np.asarray(fold[units])


def cross_fit(
    fit: Callable[[Rows], Callable[[Values], Values]], values: Values, folds: npt.NDArray[np.int64]
) -> Values:
    """Return what the maps give to `values` (N, ...), each row by one fitted without its fold.

    `fit` takes the rows (N,) that it may use and returns a map of rows to rows. `folds` (N,) are
    those of `fold_numbers`.

    >>> y = np.array([1.0, 2.0, 3.0, 6.0])
    >>> cross_fit(lambda rows: lambda _: y[rows].mean(), y, np.array([0, 0, 1, 1]))
    array([4.5, 4.5, 1.5, 1.5])
    """
    parts = [folds == number for number in range(int(folds.max()) + 1)]
    mapped = [np.asarray(fit(~part)(values[part])) for part in parts]
    found = np.empty((len(values), *mapped[0].shape[1:]))
    for part, each in zip(parts, mapped, strict=True):
        found[part] = each
    return found


def part_of(groups: npt.ArrayLike | None, rows: slice | npt.NDArray[Any]) -> Groups:
    """Return the groups of these rows; None where each row stands alone."""
    return None if groups is None else np.asarray(groups)[rows]


def newest_if_changed(values: Values, weights: Values) -> Rows:
    """Return the newest two fifths of `values` (N,), oldest first, where their mean is another than
    that of the older beyond chance; else none, (N,). What is fitted on all would flatter these.

    >>> newest_if_changed(np.array([0.0, 0.1, 0.0, 0.9, 1.0]), np.ones(5)).tolist()
    [False, False, False, True, True]
    """
    newest = np.arange(len(values)) >= (1 - 2 / FOLDS) * len(values)
    parts = [(values[rows], weights[rows]) for rows in (newest, ~newest)]
    if min(len(each) for each, _ in parts) < 2:
        return np.zeros(len(values), bool)
    means = [np.average(each, weights=weight) for each, weight in parts]
    errors = [each.var() / weight.sum() for each, weight in parts]
    changed = abs(means[0] - means[1]) > _CRITICAL * np.sqrt(sum(errors))
    return np.asarray(newest & changed)
