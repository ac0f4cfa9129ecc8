"""Estimates with 95 % intervals, and differences of two versions' figures: second minus first.

Sums take the answers of two versions for independent. Of the same images, which are easy or hard
for both, differences image by image give a narrower interval.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.bins import BinSums, FloatArray
from calibration.measures import metrics
from calibration.measures.metrics import Z95


@dataclass(frozen=True)
class IntervalEstimate:
    """An estimate with its 95 % interval."""

    estimate: float
    lower: float
    upper: float

    @property
    def in_points(self) -> str:
        """A difference of shares, in words.

        >>> IntervalEstimate(0.012, -0.003, 0.027).in_points
        '+1.2 points (-0.3 to +2.7)'
        """
        estimate, lower, upper = (100 * each for each in (self.estimate, self.lower, self.upper))
        return f"{estimate:+.1f} points ({lower:+.1f} to {upper:+.1f})"


_WHOLE = (1.0, 1.0)
_Figure = Callable[[BinSums], float]


def accuracy_difference(
    both: Sequence[BinSums], *, worth: Sequence[float] = _WHOLE, critical: float = Z95
) -> IntervalEstimate:
    """Return the difference of the shares of right answers, `critical` standard errors to each
    side. `worth`: of both, how many independent labels one is worth.

    >>> right, half = (BinSums.from_predictions([0.8] * 100, [True] * n + [False] * (100 - n))
    ...                for n in (80, 50))
    >>> found = accuracy_difference([right, half])
    >>> round(found.estimate, 3), round(found.lower, 3), round(found.upper, 3)
    (-0.3, -0.426, -0.174)
    """
    return _difference(metrics.accuracy, _share_variance, both, worth, critical)


def paired_difference(differences: FloatArray, *, worth: float) -> IntervalEstimate:
    """Return the mean of differences (n,) of two answers to one image, in [-1, 1].

    One of each extreme is added to the variance, so that no difference in all of them is not
    certain.
    """
    n, mean = len(differences), float(differences.mean())
    variance = (float((differences**2).sum()) + 2) / (n + 2) - mean**2
    half = Z95 * math.sqrt(variance / (n * worth))
    return IntervalEstimate(mean, mean - half, mean + half)


def gap_difference(both: Sequence[BinSums], *, worth: Sequence[float] = _WHOLE) -> IntervalEstimate:
    """Return the difference of confidence minus accuracy."""
    return _difference(metrics.signed_gap, metrics.signed_gap_variance, both, worth, Z95)


def confidence_difference(
    both: Sequence[BinSums], *, worth: Sequence[float] = _WHOLE
) -> IntervalEstimate:
    """Return the difference of mean confidence: what other cases explain of that of accuracy."""
    return _difference(metrics.mean_confidence, confidence_variance, both, worth, Z95)


def ece_difference(both: Sequence[BinSums]) -> IntervalEstimate:
    """Return the difference of ECE, from the interval of each (Zou and Donner 2008, MOVER).

    >>> sums = BinSums.from_predictions([0.9, 0.8], [True, False])
    >>> found = ece_difference([sums, sums])
    >>> found.estimate, found.lower == -found.upper
    (0.0, True)
    """
    (first, second), (of_first, of_second) = map(metrics.ece, both), map(metrics.ece_interval, both)
    down = math.hypot(second - of_second.lower, of_first.upper - first)
    up = math.hypot(of_second.upper - second, first - of_first.lower)
    return IntervalEstimate(second - first, second - first - down, second - first + up)


def confidence_variance(sums: BinSums) -> float:
    """Variance of the mean confidence: between bins, and of a uniform within one."""
    if not sums.total:
        return math.nan
    means = sums.confidence / np.maximum(sums.n, 1)
    mean = float(sums.confidence.sum()) / sums.total
    between = float((sums.n * (means - mean) ** 2).sum()) / sums.total
    return (between + 1 / (12 * len(sums.n) ** 2)) / sums.total


def _difference(
    figure: _Figure,
    variance: _Figure,
    both: Sequence[BinSums],
    worth: Sequence[float],
    critical: float,
) -> IntervalEstimate:
    first, second = map(figure, both)
    of_both = sum(variance(sums) / own for sums, own in zip(both, worth, strict=True))
    half = critical * math.sqrt(of_both)
    return IntervalEstimate(second - first, second - first - half, second - first + half)


def _share_variance(sums: BinSums) -> float:
    """Variance of a share; a right and a wrong answer are added, so 100 % is not certain."""
    share = (float(sums.correct.sum()) + 1) / (sums.total + 2)
    return share * (1 - share) / sums.total
