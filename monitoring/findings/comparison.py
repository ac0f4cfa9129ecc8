"""Now against the card: by how much live figures differ from the reference, and whether that is more than chance.

Both are samples: the reference's few hundred answers are as uncertain as the live ones. One comparison at one time; who
looks every day sees five false ones in a hundred days, which is why the drift alarm does not work like this.
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
    """Live minus reference with its 95 % interval; `significant` if that excludes 0."""

    live: float
    reference: float
    difference: float
    lower: float
    upper: float
    significant: bool


@dataclass(frozen=True)
class CardComparison:
    """`excess_ece` is the ECE beyond its noise floor: with unlike numbers of answers the ECEs themselves differ."""

    accuracy: CardDifference
    signed_gap: CardDifference
    excess_ece: CardDifference


def compare(live: BinSums, reference: BinSums) -> CardComparison:
    """Compare the sums of two sets of labeled answers; NaN and not significant where one is empty."""
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
    """Of a proportion, with one right and one wrong answer added so that 100 % is not taken for certain."""
    p = (float(sums.correct.sum()) + 1) / (sums.total + 2)
    return p * (1 - p) / sums.total if sums.total else math.nan


def _gap_variance(sums: BinSums) -> float:
    interval = metrics.signed_gap_interval(sums)
    return ((interval.upper - interval.lower) / (2 * Z95)) ** 2


def _ece_variance(sums: BinSums) -> float:
    """At most that of sum D / N: an absolute value scatters no more than what is inside it."""
    if not sums.total:
        return math.nan
    seen = sums.squared_error - sums.difference**2 / np.maximum(sums.n, 1)
    return float(np.maximum(sums.variance, seen).sum()) / sums.total**2
