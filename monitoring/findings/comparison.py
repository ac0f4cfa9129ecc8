"""Live figures against the card's reference: the difference, and whether it is more than chance.

Both are samples; the few hundred answers of the reference are as uncertain as the live ones. The test holds for one
look. Looking every day gives five false findings in a hundred days, so the drift alarm does not work like this.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from calibration import metrics
from calibration.bins import BinSums
from calibration.metrics import Z95

Figure: TypeAlias = Callable[[BinSums], float]


@dataclass(frozen=True)
class CardDifference:
    """Live minus reference with its 95 % interval; `significant` if the interval excludes 0."""

    live: float
    reference: float
    difference: float
    lower: float
    upper: float
    significant: bool


@dataclass(frozen=True)
class CardComparison:
    """`excess_ece` is ECE minus its noise floor, since ECE itself depends on the number of answers."""

    accuracy: CardDifference
    signed_gap: CardDifference
    excess_ece: CardDifference


def compare(live: BinSums, reference: BinSums) -> CardComparison:
    """Compare live sums with the reference's. NaN, and not significant, where either is empty."""
    return CardComparison(
        accuracy=_difference(metrics.accuracy, _accuracy_variance, live, reference),
        signed_gap=_difference(metrics.signed_gap, _gap_variance, live, reference),
        excess_ece=_difference(
            lambda sums: metrics.ece(sums) - metrics.noise_floor(sums), _ece_variance, live, reference
        ),
    )


def _difference(measure: Figure, variance: Figure, live: BinSums, reference: BinSums) -> CardDifference:
    now, then = measure(live), measure(reference)
    half = Z95 * math.sqrt(variance(live) + variance(reference))
    lower, upper = now - then - half, now - then + half
    return CardDifference(now, then, now - then, lower, upper, lower > 0 or upper < 0)


def _accuracy_variance(sums: BinSums) -> float:
    """Variance of a proportion. One right and one wrong answer are added, so that 100 % is not taken as certain."""
    p = (float(sums.correct.sum()) + 1) / (sums.total + 2)
    return p * (1 - p) / sums.total if sums.total else math.nan


def _gap_variance(sums: BinSums) -> float:
    interval = metrics.signed_gap_interval(sums)
    return ((interval.upper - interval.lower) / (2 * Z95)) ** 2


def _ece_variance(sums: BinSums) -> float:
    """Upper bound: the variance of sum D / N, since an absolute value varies no more than its argument."""
    if not sums.total:
        return math.nan
    seen = sums.squared_error - sums.difference**2 / np.maximum(sums.n, 1)
    return float(np.maximum(sums.variance, seen).sum()) / sums.total**2
