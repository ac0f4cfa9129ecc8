"""A share of labels against a bound at every look, over all labels and over those since each day.

A long good time would hide a later fall. So half of the allowed error is for all labels, and half
for the labels of answers that were served since day j of the version: 1 / (j (j + 1)) of it each.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from calibration.intervals.confidence_sequence import accuracy_evidence


class DayCount(NamedTuple):
    """Labels of answers served on a UTC day since 1970, and those of them that were right."""

    day: int
    n: float
    right: float


class Stretch(NamedTuple):
    """Labels of answers served since `day` (None: all), and their part of the allowed error."""

    day: int | None
    n: float
    right: float
    alpha: float


def stretches(
    days: Sequence[DayCount], *, alpha: float, first_day: int, since_day: int | None = None
) -> Iterator[Stretch]:
    """Yield all labels, then those since each later day.

    Args:
        alpha: allowed error of all stretches together, in (0, 1).
        first_day: of the version, from which days, which ascend, are numbered.
        since_day: the first day of which every label is known; None if all labels are.

    >>> [each[:3] for each in stretches([DayCount(5, 10, 9), DayCount(7, 10, 2)], alpha=0.05,
    ...     first_day=5)]
    [(None, 20.0, 11.0), (7, 10.0, 2.0)]
    """
    n, right = math.fsum(each.n for each in days), math.fsum(each.right for each in days)
    if since_day is None:
        yield Stretch(None, n, right, alpha / 2)
    for each, following in itertools.pairwise([DayCount(first_day - 1, 0, 0), *days]):
        n, right, age = n - each.n, right - each.right, following.day - first_day
        is_known = since_day is None or following.day >= since_day
        if is_known and age and n > 0 and (each.n or since_day is not None):
            yield Stretch(following.day, n, right, alpha / 2 / (age * (age + 1)))


def surest(found: Sequence[Stretch], share: float, *, below: bool) -> Stretch | None:
    """Return the stretch that most surely shows a share below (or above) this; None if none does.

    >>> surest([Stretch(None, 100, 60, 0.05)], 0.9, below=True)
    Stretch(day=None, n=100, right=60, alpha=0.05)
    """
    side = 1 if below else -1
    on_side = [each for each in found if side * (share * each.n - each.right) > 0]
    best = max(on_side, key=lambda each: _excess(each, share), default=None)
    return best if best is not None and _excess(best, share) >= 0 else None


def _excess(stretch: Stretch, share: float) -> float:
    """Log-evidence against the share beyond what is needed."""
    evidence = accuracy_evidence(stretch.n, min(stretch.right, stretch.n), share)
    return evidence - math.log(1 / stretch.alpha)
