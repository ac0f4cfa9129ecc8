"""Measures of calibration: functions of `BinSums`, and the two that need whole probability vectors.

In the formulas, D = C - S per bin and N = sum n. Without data each measure is NaN. The plug-in ECE is biased upward:
read it beside `noise_floor`, the value that a perfectly calibrated model would show on as many answers.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, BinSums, FloatArray, chunks

Z95 = 1.959963984540054


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
    for k in range(1, p.shape[1]):  # NumPy's reduction along a short last axis takes six times as long
        np.maximum(predicted, (p[:, k] > best) * np.int16(k), out=predicted)
        np.maximum(best, p[:, k], out=best)
    return best, predicted


_FEW_CLASSES = 32


def top_label_sums(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bin_count: int = BIN_COUNT) -> BinSums:
    """Sum up probabilities (N, K) and labels (N,) by top-label confidence, in chunks of rows.

    Raises:
        ValueError: the shapes do not match, or a confidence is outside [0, 1].

    >>> ece(top_label_sums([[0.1, 0.9], [0.9, 0.1]], [1, 1]))
    0.4
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1]:
        raise ValueError(f"probabilities must be (N, K) and labels (N,); got {p.shape} and {y.shape}")
    sums = BinSums.zeros(bin_count)
    for rows in chunks(len(p)):
        confidence, predicted = top_label(p[rows])
        sums += BinSums.from_predictions(confidence, predicted == y[rows], bin_count)
    return sums


def ece(sums: BinSums) -> float:
    """Expected calibration error, sum |D| / N, in [0, 1] (Naeini et al. 2015; Guo et al. 2017).

    >>> ece(BinSums.from_predictions([0.9, 0.9], [True, False]))
    0.4
    """
    return _ratio(float(np.abs(sums.difference).sum()), sums.total)


def mce(sums: BinSums) -> float:
    """Maximum calibration error, max |D| / n over the bins with data, in [0, 1] (Naeini et al. 2015)."""
    filled = sums.n > 0
    return float((np.abs(sums.difference[filled]) / sums.n[filled]).max()) if filled.any() else math.nan


def noise_floor(sums: BinSums) -> float:
    """E[ECE] on these answers for a model with true confidences: sqrt(2/pi) sum sqrt(V) / N.

    >>> noise_floor(BinSums.from_predictions([0.5] * 100, [True] * 100)) == math.sqrt(2 / math.pi * 25) / 100
    True
    """
    return _ratio(math.sqrt(2 / math.pi) * float(np.sqrt(sums.variance).sum()), sums.total)


def ece_spread(sums: BinSums) -> float:
    """Standard deviation of the ECE for a model with true confidences: sqrt((1 - 2/pi) sum V) / N."""
    return _ratio(math.sqrt((1 - 2 / math.pi) * float(sums.variance.sum())), sums.total)


def ece_z(sums: BinSums) -> float:
    """Standard deviations (`ece_spread`) by which the ECE exceeds its noise floor."""
    return _ratio(ece(sums) - noise_floor(sums), ece_spread(sums))


def ece_interval(
    sums: BinSums, *, level: float = 0.95, variance: FloatArray | None = None, total_variance: float | None = None
) -> Interval:
    """Conservative interval of the ECE that infinitely many such answers would show, clipped to [0, 1].

    With true bin errors d and noise e, D = d + e, so sum|d| >= sum|D| - sum|e| and sum|d| <= sum|D| + sum(+-e). The
    lower end subtracts the 97.5 % quantile of the first noise, a sum of half-normals, in the normal approximation. For
    a calibrated model it is 0 in at least 96 of 100 simulated samples. The upper end adds the quantile of the second
    noise, a normal. A bin's noise has variance max(V, Q - D^2/n): V is known even with few answers, and Q - D^2/n is
    right even if the model is miscalibrated. `variance` (M,) and `total_variance`, those of the bins and of their sum,
    replace these where answers are not independent (`calibration.clusters`), as far as they are larger.

    >>> ece_interval(BinSums.from_predictions([0.9, 0.8], [True, True])).lower   # two answers prove nothing
    0.0
    """
    z, difference = NormalDist().inv_cdf((1 + level) / 2), sums.difference
    seen = sums.squared_error - difference**2 / np.maximum(sums.n, 1)
    noise = np.maximum(sums.variance, seen)
    if variance is not None:
        noise = np.maximum(noise, variance)
    signed = z * math.sqrt(max(float(noise.sum()), total_variance or 0.0))
    absolute = math.sqrt(2 / math.pi) * float(np.sqrt(noise).sum()) + math.sqrt(1 - 2 / math.pi) * signed
    estimate, lower, upper = ece(sums), _ratio(absolute, sums.total), _ratio(signed, sums.total)
    return Interval(max(estimate - lower, 0.0), min(estimate + upper, 1.0))


def signed_gap(sums: BinSums) -> float:
    """Mean confidence minus accuracy, in [-1, 1]; above 0 the model is overconfident. Unlike the ECE it is unbiased.

    >>> signed_gap(BinSums.from_predictions([0.9, 0.9], [True, False]))
    0.4
    """
    return _ratio(-float(sums.difference.sum()), sums.total)


def signed_gap_interval(sums: BinSums) -> Interval:
    """95 % normal interval of the signed gap: gap +- 1.96 sqrt(v / N), within [-1, 1].

    v is the variance seen, sum Q / N - gap^2, or that of a calibrated model, sum V / N, whichever is larger. A few
    answers that are all right, or all wrong, show no variance at all, and their gap is not certain for that.
    """
    gap = signed_gap(sums)
    seen = _ratio(float(sums.squared_error.sum()), sums.total) - gap**2
    variance = max(seen, _ratio(float(sums.variance.sum()), sums.total))
    half = Z95 * math.sqrt(_ratio(variance, sums.total))
    return Interval(max(gap - half, -1.0), min(gap + half, 1.0)) if sums.total else Interval(math.nan, math.nan)


def debiased_rms(sums: BinSums) -> float:
    """Root mean square calibration error, unbiased before the root: sqrt(max(0, sum (D^2 - Q)/n / N)).

    Source: Lee et al. 2023, "T-Cal".
    """
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
    """Mean negative log-likelihood in nats of the true classes; probabilities (N, K), labels (N,) in 0..K-1.

    >>> round(nll([[0.25, 0.75]], [1]), 4)
    0.2877
    """
    chosen = of_true_class(probabilities, labels)
    total = sum(float(np.log(np.maximum(chosen[rows], _TINY)).sum()) for rows in chunks(len(chosen)))
    return -total / len(chosen) if chosen.size else math.nan


_TINY = np.finfo(np.float64).tiny


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

    Raises:
        ValueError: the shapes do not match, or a label is outside 0..K-1.
    """
    p, y = np.asarray(probabilities), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1]:
        raise ValueError(f"probabilities must be (N, K) and labels (N,); got {p.shape} and {y.shape}")
    if y.size and not (y.min() >= 0 and y.max() < p.shape[1]):
        raise ValueError(f"labels must be in 0..{p.shape[1] - 1}; got {y.min()}..{y.max()}")
    chosen = np.empty(len(p))
    for rows in chunks(len(p)):
        chosen[rows] = p[rows][np.arange(len(chosen[rows])), y[rows]]
    return chosen


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
