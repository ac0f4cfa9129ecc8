"""Temperature scaling: logits are divided by one T > 0 before the softmax (Guo et al. 2017).

It changes confidences, never the predicted class. Logits are needed only up to a constant per row,
so the logarithms of served probabilities do as well as the network's own logits. A T fitted on
those multiplies the T already in use.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.measures.metrics import of_true_class

LOWEST, HIGHEST = 0.05, 20.0


def softmax(logits: npt.ArrayLike) -> FloatArray:
    """Return exp(z) / sum exp(z) along the last axis, in float64, for any finite logits.

    >>> softmax([[1000.0, 1000.0]])
    array([[0.5, 0.5]])
    """
    z = np.asarray(logits, dtype=np.float64)
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(logits: npt.ArrayLike) -> FloatArray:
    """Return 1 / (1 + exp(-z)) in float64, for any finite z.

    >>> sigmoid([0.0, 1000.0])
    array([0.5, 1. ])
    """
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(logits, dtype=np.float64) / 2)))


def logit(probabilities: npt.ArrayLike, *, smallest: float) -> FloatArray:
    """Return log(p / (1 - p)) with p in [smallest, 1 - smallest], of the same shape.

    >>> logit([0.5, 1.0], smallest=0.25).round(3)
    array([0.   , 1.099])
    """
    p = np.clip(np.asarray(probabilities, dtype=np.float64), smallest, 1 - smallest)
    return np.asarray(np.log(p / (1 - p)))


def log_sum_exp(logits: FloatArray) -> FloatArray:
    """Return log sum exp(z) of each row of (N, K), several times as fast as `np.logaddexp.reduce`.

    >>> log_sum_exp(np.array([[1000.0, 1000.0]])) - 1000
    array([0.69314718])
    """
    highest = logits.max(axis=1)
    return np.asarray(highest + np.log(np.exp(logits - highest[:, np.newaxis]).sum(axis=1)))


def apply_temperature(logits: npt.ArrayLike, temperature: float) -> FloatArray:
    """Return softmax(logits / T), shape (N, K)."""
    return softmax(np.asarray(logits, dtype=np.float64) / temperature)


def check_answers(
    logits: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[FloatArray, npt.NDArray[np.integer]]:
    """Return logits (N, K) in float64 and labels (N,), checked for fitting a calibrator.

    Raises:
        ValueError: no rows, shapes that do not match, labels outside 0..K-1, logits that are not
            finite.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if not z.size:
        raise ValueError("a calibrator needs at least one labeled prediction; got none")
    if not np.isfinite(z).all():
        raise ValueError("logits must be finite; got infinity or NaN")
    of_true_class(z, y)  # raises ValueError for labels that do not fit
    return z, y


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the T that minimizes the negative log-likelihood of the labels.

    It is searched from 0.05 to `highest_temperature(logits)`, where answers are all but equal.

    If every answer is right, no T does: the smaller it is, the better, until every confidence is 1,
    which N right answers do not justify. T is then the one at which the mean confidence is (N + 1)
    / (N + 2), the probability that the next answer is right after N right ones (Laplace's rule of
    succession).

    Args:
        logits: (N, K), finite; any constant may have been added to a row.
        labels: (N,) integers in 0..K-1.

    Raises:
        ValueError: no rows, shapes that do not match, logits that are not finite.

    >>> logits = np.array([[0.0, 2.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
    >>> T = fit_temperature(logits, [1, 1, 1, 0])   # right in 3 of 4, so p must become 0.75
    >>> round(float(apply_temperature(logits, T)[0, 1]), 3)
    0.75
    >>> # 5 / 6, not 1
    >>> round(float(apply_temperature(logits, fit_temperature(logits, [1, 1, 1, 1]))[0, 1]), 3)
    0.833
    """
    z, y = check_answers(logits, labels)
    margins = z - of_true_class(z, y)[:, np.newaxis]  # (N, K)
    if ((margins < 0).sum(axis=1) == z.shape[1] - 1).all():
        return _fit_to_confidence(margins, (len(y) + 1) / (len(y) + 2), highest_temperature(z))

    # The loss is convex in 1/T. Its slope is the mean margin under the model's own probabilities.
    def slope(inverse: float) -> tuple[float, float]:
        p = softmax(margins * inverse)
        mean = (p * margins).sum(axis=1)
        return float(mean.mean()), float(((p * margins**2).sum(axis=1) - mean**2).mean())

    return 1 / _root(slope, 1 / highest_temperature(z), 1 / LOWEST)


def highest_temperature(logits: npt.ArrayLike) -> float:
    """20, or ten times the typical difference of a row's logits (N, K), where that is more.

    >>> highest_temperature([[0.0, 1.5]]), highest_temperature([[0.0, 300.0]])
    (20.0, 3000.0)
    """
    z = np.asarray(logits, dtype=np.float64)
    return max(HIGHEST, 10 * float(np.sqrt(np.square(z.max(axis=1) - z.min(axis=1)).mean())))


def at_bound(temperature: float, highest: float = HIGHEST) -> bool:
    """Whether a temperature is a bound of its search, not to be used: labels do not determine it.

    >>> at_bound(fit_temperature([[0.0, 1.0]] * 3, [0, 0, 1])), at_bound(1.3)  # mostly wrong
    (True, False)
    """
    return not LOWEST * 1.001 < temperature < highest / 1.001


def _fit_to_confidence(margins: FloatArray, confidence: float, highest: float) -> float:
    """Return the T in [0.05, `highest`] whose mean confidence of right answers is nearest.

    `margins` (N, K) are logits less that of the true class, which is 0 and the largest of its row.
    """

    def excess(inverse: float) -> tuple[float, float]:
        p = softmax(margins * inverse)
        right = p[margins == 0]  # (N,)
        slope = -(right * (p * margins).sum(axis=1)).mean()
        return float(right.mean()) - confidence, float(slope)

    return 1 / _root(excess, 1 / highest, 1 / LOWEST)


def _root(function: Callable[[float], tuple[float, float]], lower: float, upper: float) -> float:
    """Return where a rising function is 0 in [lower, upper], else the nearer bound, to 1e-9.

    `function` returns value and slope. Newton's steps are taken inside the bracket that the signs
    leave, else its geometric middle.
    """
    at = 1.0
    while upper - lower > 1e-9 * lower:
        value, slope = function(at)
        lower, upper = (lower, at) if value > 0 else (at, upper)
        step = at - value / slope if slope > 0 else math.inf
        if abs(step - at) <= 1e-9 * at:
            return step
        at = step if lower < step < upper else math.sqrt(lower * upper)
    return at
