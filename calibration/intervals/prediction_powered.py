"""Means from a few truths and many proxies, and the noise of labels from two readings.

A proxy alone is biased. Prediction-powered inference adds what it is off by where the truth is
known too (the rectifier). The proxy gets the weight that makes the variance smallest, so the
interval is, but for chance, never wider than from the truths alone. It assumes that answers with a
truth are like those that have a proxy alone: drawn at random, not chosen by what the proxy says.

Sources: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Prediction-powered inference, Science
382 (2023); the weight: Angelopoulos, Duchi and Zrnic, PPI++, arXiv:2311.01453 (2023), example 6.1.
The two pairs of added truths: Agresti and Coull, Approximate is better than exact, The American
Statistician 52 (1998).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.intervals.confidence_sequence import share_interval
from calibration.measures.metrics import Z95, Interval

FEWEST: Final = 10  # truths of either outcome, for a weight of the proxies
_ADDED: Final = 2  # truths at each end, so that a few that all agree are not taken for certainty


@dataclass(frozen=True)
class PoweredMean:
    """A mean with its 95 % interval. `weight` of the proxies, 0 to 1; 0: truths alone."""

    estimate: float
    lower: float
    upper: float
    weight: float


def powered_accuracy(
    right: npt.ArrayLike, proxy: npt.ArrayLike, proxy_alone: npt.ArrayLike
) -> PoweredMean:
    """Estimate the share of right answers.

    Args:
        right, proxy: (n,) whether the truth, and the proxy, says that an answer is right.
        proxy_alone: (N,) by the proxy, of answers that have no truth.

    Returns NaN without truths. Below FEWEST truths of either outcome the weight is 0, because it
    cannot be estimated.

    Twenty truths of which the proxy knows 18; it calls half of a hundred others right. The weight
    is cov / ((1 + n / N) var) = 0.2 / (1.2 * 0.25), and the estimate 0.5 + weight (0.5 - 0.6).

    >>> found = powered_accuracy([1] * 10 + [0] * 10, [1] * 12 + [0] * 8, [1, 0] * 50)
    >>> round(found.weight, 3), round(found.estimate, 3)
    (0.667, 0.433)
    """
    y, f, alone = (np.asarray(each, dtype=np.float64) for each in (right, proxy, proxy_alone))
    if not y.size:
        return PoweredMean(math.nan, math.nan, math.nan, 0.0)
    weight, proxies = _weight(y, f, alone), alone if alone.size else f
    estimate = y.mean() + weight * (proxies.mean() - f.mean())
    residual = np.concatenate([y, [0.0, 1.0] * _ADDED])
    residual -= weight * np.concatenate([f, np.full(2 * _ADDED, f.mean())])
    center = residual.mean() + weight * proxies.mean()
    variance = residual.var(ddof=2) / residual.size + weight**2 * proxies.var() / proxies.size
    half = Z95 * math.sqrt(variance)
    lower, upper = max(center - half, 0.0), min(center + half, 1.0)
    return PoweredMean(float(estimate), float(lower), float(upper), weight)


def reading_error(pairs: int, different: int, *, classes: int = 2) -> Interval:
    """Return the 95 % interval of the error rate of a single reading, from two of each answer.

    Two readers err independently, each with rate e and equally towards every other class. They
    agree with probability (1 - e)^2 + e^2 / (K - 1), which is solved for e at the ends of the exact
    interval of the share of pairs that differ. Without pairs it is (0, (K - 1) / K).

    >>> lower, upper = reading_error(1000, 95)
    >>> round(lower, 3), round(upper, 3)
    (0.04, 0.061)
    """
    shares = share_interval(pairs, different)
    return Interval(*(error_of(share, classes=classes) for share in shares))


def error_of(different: float, *, classes: int = 2) -> float:
    """Return the error rate of a reading if two differ in this share of answers.

    >>> error_of(0.095)  # 2 * 0.05 * 0.95
    0.05
    """
    most = (classes - 1) / classes
    return round(most * (1 - math.sqrt(max(1 - different / most, 0.0))), 12)


def _weight(
    y: npt.NDArray[np.float64], f: npt.NDArray[np.float64], alone: npt.NDArray[np.float64]
) -> float:
    spread = np.concatenate([f, alone]).var()
    if not alone.size or spread == 0 or min(y.sum(), y.size - y.sum()) < FEWEST:
        return 0.0
    covariance = float(((y - y.mean()) * (f - f.mean())).mean())
    return float(np.clip(covariance / ((1 + len(y) / alone.size) * spread), 0.0, 1.0))
