"""A share of labels against a bound at every look, over all labels and over those since each day.

A long good time would hide a later fall. So half of the allowed error is for all labels, and half
for the labels of answers that were served since day j of the version: 1 / (j (j + 1)) of it each.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.intervals.confidence_sequence import accuracy_evidence


class Stretch(NamedTuple):
    """Labels of answers served since `day` (None: all), and their part of the allowed error."""

    day: int | None
    n: float
    right: float
    alpha: float


@dataclass(frozen=True)
class DayCounts:
    """Labels of G groups: `n` and, of these, `right` (G, D) of answers served on each UTC day.

    `day` (D,) counts days since 1970, ascending.
    """

    day: IntArray
    n: FloatArray
    right: FloatArray

    def since(self, day: int | None) -> tuple[FloatArray, FloatArray]:
        """Labels (G,) of answers served since a day, and those of them that were right."""
        kept = self.day >= (day or 0)
        return self.n[:, kept].sum(axis=1), self.right[:, kept].sum(axis=1)


def surest(
    counts: DayCounts,
    share: float,
    *,
    below: bool,
    alpha: float,
    first_day: int,
    since_day: int | None = None,
) -> list[Stretch | None]:
    """Return, for each group, what most surely shows a share below (or above) this: all labels, or
    those since a day; None where nothing does.

    Args:
        share: the bound, in [0, 1].
        alpha: allowed error of all stretches of a group together, in (0, 1).
        first_day: of the version, from which days are numbered.
        since_day: the first day of which every label is known; None if all labels are.

    >>> counts = DayCounts(np.array([5, 7]), np.array([[100, 100]]), np.array([[90, 20]]))
    >>> surest(counts, 0.8, below=True, alpha=0.05, first_day=5)[0][:3]
    (7, 100, 20)
    """
    n, right, parts = _stretches(counts, alpha, first_day, since_day)
    if not 0 < share < 1:  # nothing is beyond it
        return [None] * len(n)
    is_beyond = (share * n > right) if below else (share * n < right)
    most = np.where(is_beyond, _most_evidence(n, right, share) + parts, -math.inf)
    days = [None, *counts.day.tolist()]
    columns = (each.tolist() for each in (n, right, parts, most))
    return [_surest(*each, days=days, share=share) for each in zip(*columns, strict=True)]


def _surest(
    n: list[float],
    right: list[float],
    parts: list[float],
    most: list[float],
    *,
    days: list[int | None],
    share: float,
) -> Stretch | None:
    """The stretch with most log-evidence beyond what is needed, which is at most `most`."""
    found, excess = None, 0.0
    for place in sorted(range(len(most)), key=most.__getitem__, reverse=True):
        if most[place] < excess:
            break
        hits = min(right[place], n[place])
        beyond = accuracy_evidence(n[place], hits, share) + parts[place]
        if beyond >= excess:
            found, excess = Stretch(days[place], n[place], hits, math.exp(parts[place])), beyond
    return found


def _stretches(
    counts: DayCounts, alpha: float, first_day: int, since_day: int | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Labels (G, 1 + D) of all days and since each, those that were right, and the logarithms of
    their parts of alpha; -inf: not looked at.
    """
    n, right = (
        np.concatenate([each.sum(axis=1, keepdims=True), each[:, ::-1].cumsum(axis=1)[:, ::-1]], 1)
        for each in (counts.n, counts.right)
    )
    age = np.maximum(counts.day - first_day, 0)
    with np.errstate(divide="ignore"):
        parts = math.log(alpha / 2) - np.log(age * (age + 1.0))
    if since_day is None:
        begun = np.cumsum(counts.n, axis=1) > counts.n  # else they are all labels
        looked_at = (counts.n > 0) & (age > 0) & begun
    else:
        looked_at = (counts.n > 0) & (age > 0) & (counts.day >= since_day)
    whole = np.full((len(n), 1), math.log(alpha / 2) if since_day is None else -math.inf)
    return n, right, np.concatenate([whole, np.where(looked_at, parts, -math.inf)], axis=1)


def _most_evidence(n: FloatArray, right: FloatArray, share: float) -> FloatArray:
    """An upper bound of log-evidence against a share: the likelihood ratio to the share seen."""
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = right / n
        each = right * np.log(seen / share), (n - right) * np.log((1 - seen) / (1 - share))
    return np.asarray(np.nansum(each, axis=0))
