"""Errors of rows that belong together: images of one patient err together.

The variance of a sum over rows is then estimated from the sums of whole groups (the cluster-robust
variance of Liang and Zeger 1986), never below that of independent rows.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, BinSums, FloatArray, IntArray, bin_index
from calibration.measures import metrics
from calibration.measures.metrics import Interval

_FEW_GROUPS = 30


@dataclass(frozen=True)
class Chance:
    """What chance does to the calibration error of a set of answers.

    Attributes:
        floor: the ECE that a calibrated model would show.
        ece: 95 % interval of the ECE that infinitely many such answers would show, conservative.
        gap: 95 % interval of mean confidence minus accuracy.
        gap_z: the gap in standard deviations of a calibrated model.
    """

    floor: float
    ece: Interval
    gap: Interval
    gap_z: float


def chance(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    bin_count: int = BIN_COUNT,
) -> Chance:
    """Return floor and intervals, by group if answers belong together.

    Raises ValueError without answers, and as `BinSums.from_predictions`.

    Fifty answers, each there twice because two images show one patient, prove as much as fifty:

    >>> once = chance([0.9] * 50, [True] * 30 + [False] * 20)
    >>> twice = chance([0.9] * 100, [True] * 60 + [False] * 40, np.arange(100) // 2)
    >>> round(once.gap.upper, 2), round(twice.gap.upper, 2)
    (0.44, 0.44)
    """
    p, c = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    sums = BinSums.from_predictions(p, c, bin_count)
    if not sums.total:
        raise ValueError("intervals need at least one answer; got none")
    if groups is None:
        spread = math.sqrt(float(sums.variance.sum()))
        gap_z = -float(sums.difference.sum()) / spread if spread else math.nan
        return Chance(
            metrics.noise_floor(sums),
            metrics.ece_interval(sums),
            metrics.signed_gap_interval(sums),
            gap_z,
        )
    return _by_group(p, c, sums, np.unique(np.asarray(groups), return_inverse=True)[1])


def _by_group(
    p: FloatArray, c: FloatArray, sums: BinSums, units: npt.NDArray[np.integer]
) -> Chance:
    n, count, bins = sums.total, int(units.max()) + 1, len(sums.n)
    index = bin_index(p, bins)
    centered = c - p - (sums.difference / np.maximum(sums.n, 1))[index]
    variance = np.maximum(sums.variance, _variance_of_bins(sums, units * bins + index, centered))
    small_sample = count / max(count - 1, 1)
    signed = np.bincount(units, np.sign(sums.difference)[index] * centered)
    total = max(float(variance.sum()), small_sample * float((signed**2).sum()))
    floor = math.sqrt(2 / math.pi) * float(np.sqrt(variance).sum()) / n
    residual = c - p
    gap = -float(residual.mean())
    of_groups = small_sample * float((np.bincount(units, residual + gap) ** 2).sum())
    spread = math.sqrt(max(of_groups, float(sums.variance.sum())))
    by_group = _gap_interval(
        gap, float(p.mean()), float(residual.var()), of_groups, np.bincount(units)
    )
    return Chance(
        floor,
        metrics.ece_interval(sums, variance=variance, total_variance=total, gap_interval=by_group),
        by_group,
        gap * n / spread if spread else math.nan,
    )


def _gap_interval(
    gap: float, confidence: float, variance: float, of_groups: float, sizes: IntArray
) -> Interval:
    """Interval of the gap from as many independent answers as these are worth.

    Args:
        gap: mean confidence minus accuracy; `confidence`: the mean; `variance`: of one answer.
        of_groups: variance of the sum over all answers, from the sums of groups.
        sizes: (G,) answers of each group.
    """
    # the variance of groups that err as one
    n, as_one = (int(sizes.sum()), variance * float((sizes**2).sum()))
    total = max(of_groups, as_one if len(sizes) < _FEW_GROUPS else variance * n)
    worth = (
        variance * n**2 / total if total > 0 and variance > 0 else n**2 / float((sizes**2).sum())
    )
    return metrics.gap_interval(gap, confidence, variance, worth)


def _variance_of_bins(
    sums: BinSums, cells: npt.NDArray[np.integer], centered: FloatArray
) -> FloatArray:
    """Variance (M,) of each bin's sum, from its groups' sums; `cells` (N,): group and bin.

    With few groups these sums show too little. The variance is then at least that of groups that
    err as one.
    """
    bins = len(sums.n)
    # the cells that hold an answer
    cell, place, rows = np.unique(cells, return_inverse=True, return_counts=True)
    groups = np.bincount(cell % bins, minlength=bins)
    squares = np.bincount(cell % bins, np.bincount(place, centered) ** 2, minlength=bins)
    seen = squares * groups / np.maximum(groups - 1, 1)
    as_one = (
        sums.variance * np.bincount(cell % bins, rows**2, minlength=bins) / np.maximum(sums.n, 1)
    )
    return np.asarray(np.where(groups < _FEW_GROUPS, np.maximum(seen, as_one), seen))


def two_sided_p(z: float) -> float:
    """The p-value of a standard normal deviation, both tails; NaN if it is NaN.

    >>> round(two_sided_p(1.96), 3)
    0.05
    """
    return 2 * NormalDist().cdf(-abs(z)) if math.isfinite(z) else math.nan
