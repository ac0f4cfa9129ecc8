"""The numbers of a reliability diagram (DeGroot and Fienberg 1983): accuracy by confidence."""

import math
from dataclasses import dataclass

from calibration.bins import BinSums
from calibration.measures.metrics import Z95, Interval


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin (lower, upper]: mean confidence, and accuracy with a 95 % Wilson interval.

    Without answers, all but the bounds and n are NaN.
    """

    lower: float
    upper: float
    n: int
    confidence: float
    accuracy: float
    accuracy_lower: float
    accuracy_upper: float


def reliability(sums: BinSums) -> list[ReliabilityBin]:
    """Return one `ReliabilityBin` per confidence bin, in order.

    >>> bar = reliability(BinSums.from_predictions([0.9, 0.9], [True, False], bin_count=2))[1]
    >>> bar.n, bar.confidence, bar.accuracy
    (2, 0.9, 0.5)
    """
    return [_bar(sums, m) for m in range(len(sums.n))]


def _bar(sums: BinSums, m: int) -> ReliabilityBin:
    count, n = len(sums.n), int(sums.n[m])
    if n == 0:
        return ReliabilityBin(m / count, (m + 1) / count, 0, math.nan, math.nan, math.nan, math.nan)
    accuracy = float(sums.correct[m]) / n
    interval = wilson_interval(accuracy, n)
    return ReliabilityBin(
        m / count, (m + 1) / count, n, float(sums.confidence[m]) / n, accuracy, *interval
    )


def wilson_interval(proportion: float, n: float) -> Interval:
    """Score interval of a binomial proportion observed in n > 0 trials (Wilson 1927): 95 %.

    >>> low, high = wilson_interval(0.5, 100)
    >>> round(low, 3), round(high, 3)
    (0.404, 0.596)
    """
    z2 = Z95**2
    center = (proportion + z2 / (2 * n)) / (1 + z2 / n)
    spread = math.sqrt(proportion * (1 - proportion) / n + z2 / (4 * n * n))
    half = Z95 * spread / (1 + z2 / n)
    return Interval(max(0.0, center - half), min(1.0, center + half))
