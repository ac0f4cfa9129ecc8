"""Measures of calibration: functions of `BinSums`, and the two that need whole probability vectors.

In the formulas, D = C - S per bin and N = sum n. Without data each measure is NaN. The plug-in ECE
is biased upward: read it beside `noise_floor`, the value that a perfectly calibrated model would
show on as many answers.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from calibration.bins import BinSums, FloatArray, chunks

Z95 = 1.959963984540054
_ONE_SIDED_95 = 1.645  # standard deviations
SMALLEST = float(np.finfo(np.float64).eps)  # counts for 0 in a logarithm, as in scikit-learn
_SINGLE = 4e-8  # what single precision leaves of a probability: half of its last bit, and some more


class Interval(NamedTuple):
    """A confidence interval, both ends inclusive."""

    lower: float
    upper: float


def top_label(probabilities: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Split probabilities (N, K) into the top-label confidence (N,) and the predicted class (N,).

    If probabilities are equal, the first class wins.

    >>> top_label([[0.2, 0.8]])
    (array([0.8]), array([1]))
    """
    p = np.asarray(probabilities)
    if p.dtype != np.float32:
        p = p.astype(np.float64, copy=False)
    confidence, predicted = np.empty(len(p)), np.empty(len(p), dtype=np.int64)
    for rows in chunks(len(p)):
        confidence[rows], predicted[rows] = _top(p[rows])
    return confidence, predicted


def _top(p: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.integer]]:
    if not 0 < p.shape[1] <= _FEW_CLASSES:
        return p.max(axis=1), p.argmax(axis=1)
    best, predicted = p[:, 0].copy(), np.zeros(len(p), dtype=np.int16)
    # NumPy's reduction along a short last axis takes six times as long
    for k in range(1, p.shape[1]):
        np.maximum(predicted, (p[:, k] > best) * np.int16(k), out=predicted)
        np.maximum(best, p[:, k], out=best)
    return best, predicted


_FEW_CLASSES = 32


def ece(sums: BinSums) -> float:
    """Expected calibration error, sum |D| / N, in [0, 1] (Naeini et al. 2015; Guo et al. 2017).

    >>> ece(BinSums.from_predictions([0.9, 0.9], [True, False]))
    0.4
    """
    return _ratio(float(np.abs(sums.difference).sum()), sums.total)


def mce(sums: BinSums) -> float:
    """Maximum calibration error, max |D| / n over bins with data (Naeini et al. 2015)."""
    filled = sums.n > 0
    return (
        float((np.abs(sums.difference[filled]) / sums.n[filled]).max())
        if filled.any()
        else math.nan
    )


def noise_floor(sums: BinSums) -> float:
    """E[ECE] on these answers for a model with true confidences: sqrt(2/pi) sum sqrt(V) / N.

    >>> sums = BinSums.from_predictions([0.5] * 100, [True] * 100)
    >>> noise_floor(sums) == math.sqrt(2 / math.pi * 25) / 100
    True
    """
    return _ratio(math.sqrt(2 / math.pi) * float(np.sqrt(sums.variance).sum()), sums.total)


def chance_limit(sums: BinSums) -> float:
    """The ECE that a calibrated model stays below with a probability of 95 %.

    ECE is then a sum of half-normal variables: its mean is the noise floor, its variance (1 - 2/pi)
    sum V / n^2.
    """
    return noise_floor(sums) + _ONE_SIDED_95 * _chance_spread(sums)


def _chance_spread(sums: BinSums) -> float:
    return _ratio(math.sqrt((1 - 2 / math.pi) * float(sums.variance.sum())), sums.total)


def ece_z(sums: BinSums) -> float:
    """By how much the ECE exceeds its noise floor, in standard deviations of a calibrated model's:
    sqrt((1 - 2/pi) sum V) / N.
    """
    return _ratio(ece(sums) - noise_floor(sums), _chance_spread(sums))


def ece_interval(
    sums: BinSums,
    *,
    variance: FloatArray | None = None,
    total_variance: float | None = None,
    gap_interval: Interval | None = None,
) -> Interval:
    """Conservative 95 % interval of the ECE of infinitely many such answers, in [0, 1].

    With true bin errors d and noise e, D = d + e, so sum|d| >= sum|D| - sum|e| and sum|d| <= sum|D|
    + sum(+-e). The lower end subtracts the 97.5 % quantile of the first noise, a sum of
    half-normals, in the normal approximation. For a calibrated model it is 0 in at least 96 of 100
    simulated samples. The upper end adds the quantile of the second noise, a normal. A bin's noise
    has variance max(V, Q - D^2/n): V is known even with few answers, and Q - D^2/n is right even if
    the model is miscalibrated.

    Both are near 0 for a few answers of high confidence that are all wrong. So the interval reaches
    at least as far down as that of the signed gap does towards 0, and at least as far up as the
    largest gap in it: |gap| <= ECE.

    `variance` (M,) and `total_variance`, those of the bins and of their sum, replace the variances
    where answers are not independent (`calibration.intervals.clusters`), as far as they are larger;
    `gap_interval` replaces `signed_gap_interval`.

    >>> # two answers prove nothing
    >>> ece_interval(BinSums.from_predictions([0.9, 0.8], [True, True])).lower
    0.0
    """
    if not sums.total:
        return Interval(math.nan, math.nan)
    seen = sums.squared_error - sums.difference**2 / np.maximum(sums.n, 1)
    noise = np.maximum(sums.variance, seen)
    if variance is not None:
        noise = np.maximum(noise, variance)
    signed = Z95 * math.sqrt(max(float(noise.sum()), total_variance or 0.0))
    absolute = (
        math.sqrt(2 / math.pi) * float(np.sqrt(noise).sum()) + math.sqrt(1 - 2 / math.pi) * signed
    )
    estimate, gap, of_gap = ece(sums), signed_gap(sums), gap_interval or signed_gap_interval(sums)
    towards_zero = gap - of_gap.lower if gap > 0 else of_gap.upper - gap
    lower = estimate - max(absolute / sums.total, towards_zero)
    upper = max(estimate + signed / sums.total, -of_gap.lower, of_gap.upper)
    return Interval(max(lower, 0.0), min(upper, 1.0))


def signed_gap(sums: BinSums) -> float:
    """Mean confidence minus accuracy, in [-1, 1], unbiased; above 0 is overconfident.

    >>> signed_gap(BinSums.from_predictions([0.9, 0.9], [True, False]))
    0.4
    """
    return _ratio(-float(sums.difference.sum()), sums.total)


def signed_gap_interval(sums: BinSums, *, level: float = 0.95, worth: float = 1.0) -> Interval:
    """Interval of the signed gap with coverage `level`, within [-1, 1]; see `gap_interval`.

    `worth`: how many independent answers one is worth, in (0, 1].

    Of one wrong prediction at confidence 1:

    >>> found = signed_gap_interval(BinSums.from_predictions([1.0], [False]))
    >>> round(found.lower, 2), round(found.upper, 2)
    (0.17, 1.0)
    """
    seen = signed_gap(sums), mean_confidence(sums), _gap_variance_seen(sums)
    return gap_interval(*seen, sums.total * worth, level=level)


def signed_gap_variance(sums: BinSums) -> float:
    """Variance of the signed gap, with the answers that `gap_interval` adds."""
    if not sums.total:
        return math.nan
    gap, confidence = signed_gap(sums), mean_confidence(sums)
    return (
        _with_added_answers(gap, confidence, _gap_variance_seen(sums), sums.total, Z95)[1]
        / sums.total
    )


def gap_interval(
    gap: float, confidence: float, variance: float, n: float, *, level: float = 0.95
) -> Interval:
    """Normal interval of a gap as if z^2 more answers had come, half of them right and half wrong.

    A few answers that are all right, or all wrong, show no variance, and their gap is not certain
    for that. Agresti and Coull (1998) cure a proportion in this way, and give these intervals if
    all answers have one confidence. In simulations of 2 to 200 answers the interval holds the gap
    in 86 to 100 of 100 samples, mostly in about 95.

    Args:
        confidence: mean confidence; that of the added answers, too.
        variance: of confidence minus correctness, of one answer.
        n: answers; the number of independent ones that they are worth, where they are not
            independent or have weights.

    Returns:
        The interval within [-1, 1]; NaN without answers.
    """
    if not n:
        return Interval(math.nan, math.nan)
    z = NormalDist().inv_cdf((1 + level) / 2)
    center, spread = _with_added_answers(gap, confidence, variance, n, z)
    half = z * math.sqrt(spread / (n + z * z))
    return Interval(max(center - half, -1.0), min(center + half, 1.0))


def _with_added_answers(
    gap: float, confidence: float, variance: float, n: float, z: float
) -> tuple[float, float]:
    """Mean and variance of confidence minus correctness with z^2 more answers."""
    added = z * z
    center = (n * gap + added * (confidence - 0.5)) / (n + added)
    square = (n * (variance + gap**2) + added / 2 * (confidence**2 + (1 - confidence) ** 2)) / (
        n + added
    )
    return center, square - center**2


def _gap_variance_seen(sums: BinSums) -> float:
    return max(0.0, _ratio(float(sums.squared_error.sum()), sums.total) - signed_gap(sums) ** 2)


def debiased_rms(sums: BinSums) -> float:
    """Unbiased root mean square error, sqrt(max(0, sum (D^2 - Q)/n / N)) (Lee et al. 2023)."""
    filled = sums.n > 0
    squares = (sums.difference[filled] ** 2 - sums.squared_error[filled]) / sums.n[filled]
    return math.sqrt(max(0.0, float(squares.sum()) / sums.total)) if sums.total else math.nan


def accuracy(sums: BinSums) -> float:
    """Share of right answers, sum C / N."""
    return _ratio(float(sums.correct.sum()), sums.total)


def mean_confidence(sums: BinSums) -> float:
    """Mean top-label confidence, sum S / N: the accuracy that the model expects of itself."""
    return _ratio(float(sums.confidence.sum()), sums.total)


def nll(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean negative log-likelihood, in nats; probabilities (N, K), labels (N,) in 0..K-1.

    >>> round(nll([[0.25, 0.75]], [1]), 4)
    0.2877
    """
    return mean(log_loss(probabilities, labels))


def mean(values: FloatArray) -> float:
    """Mean of (N,); NaN without values."""
    return float(values.mean()) if values.size else math.nan


def log_loss(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, smallest: float | None = None
) -> FloatArray:
    """Return (N,) -log p of the true classes in nats; a p below `smallest` counts as that.

    `smallest` is `smallest_probability(probabilities)` if it is None.
    """
    chosen = of_true_class(probabilities, labels)
    if chosen.size and chosen.min() < SMALLEST:
        least = smallest_probability(probabilities) if smallest is None else smallest
        chosen = np.maximum(chosen, least)
    return np.asarray(-np.log(chosen))


def last_decimal(probabilities: npt.ArrayLike) -> float:
    """The unit of the last decimal of rounded probabilities, 0.1 to 1e-6; 0 if they are exact.

    Single precision holds 0.97 as 0.97000003, which is two decimals all the same.

    >>> last_decimal([0.97, 0.03]), last_decimal(np.float32([0.97, 0.03])), last_decimal([1 / 3])
    (0.01, 0.01, 0.0)
    """
    p = np.asarray(probabilities, dtype=np.float64).ravel()
    p = p[:: max(1, len(p) // 100_000)]
    inner = p[(p > 0) & (p < 1)]
    for decimals in range(1, 7):
        scaled = inner * 10**decimals
        whole = np.rint(scaled)
        rounded = np.abs(scaled - whole).max(initial=0) < _SINGLE * 10**decimals
        if inner.size and rounded and whole.min() > 0 and whole.max() < 10**decimals:
            return 10.0**-decimals
    return 0.0


def smallest_probability(probabilities: npt.ArrayLike) -> float:
    """What stands for a 0: a quarter of the last decimal of rounded probabilities, or 2.2e-16.

    A probability that was rounded to 0.00 may have been 0.004. Its logarithm must not count as -36.
    If rows were divided by their sums after rounding, a 0 is a quarter of the smallest that is not.

    >>> smallest_probability([[0.97, 0.03], [1.0, 0.0]])
    0.0025
    >>> smallest_probability([[1 / 3, 2 / 3]]) == SMALLEST
    True
    >>> smallest_probability([[1.0, 1e-200], [1.0, 0.0]]) == SMALLEST  # of a network that is sure
    True
    """
    if unit := last_decimal(probabilities):
        return unit / 4
    p = np.asarray(probabilities, dtype=np.float64)
    if not p.size or p.min() > 0:
        return SMALLEST
    lowest = float(p.min(where=p > 0, initial=1.0))
    return max(lowest / 4, SMALLEST) if lowest < 1 else SMALLEST


def brier(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Brier score over all classes, mean of sum_k (p_k - y_k)^2, in [0, 2] (Brier 1950).

    >>> brier([[0.25, 0.75]], [1])
    0.125
    """
    p = np.asarray(probabilities)
    chosen, total = of_true_class(p, labels), 0.0
    for rows in chunks(len(p)):
        total += float(np.square(p[rows], dtype=np.float64).sum())
    return (total - 2 * float(chosen.sum())) / len(p) + 1 if len(p) else math.nan


def of_true_class(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> FloatArray:
    """Pick each row's value of its true class: (N, K) and (N,) in 0..K-1 give (N,).

    Raises ValueError: the shapes do not match, or a label is outside 0..K-1.
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1]:
        raise ValueError(
            f"probabilities must be (N, K) and labels (N,); got {p.shape} and {y.shape}"
        )
    if y.size and not (y.min() >= 0 and y.max() < p.shape[1]):
        raise ValueError(f"labels must be in 0..{p.shape[1] - 1}; got {y.min()}..{y.max()}")
    chosen = np.empty(len(p))
    for rows in chunks(len(p)):
        chosen[rows] = p[rows][np.arange(len(chosen[rows])), y[rows]]
    return chosen


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
