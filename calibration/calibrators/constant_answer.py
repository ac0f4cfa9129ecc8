"""Whether probabilities say more about the labels than the best constant answer.

That is the frequencies of these labels, whose NLL is their entropy, or one class, whose mean recall
is 1 / K. So an answer that is the same for each image never passes. One that ranks a rare class
well does, though it never predicts it, and one that finds it at the price of accuracy.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.remedies import standard_error
from calibration.measures.confusion import KNOWN_IMAGES
from calibration.measures.metrics import SMALLEST, log_loss

ONE_SIDED_95: Final = 1.645  # standard errors
ROUNDING: Final = 1e-9  # nats for each image


def beats_constant_answer(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike | None = None
) -> bool:
    """Whether the NLL of probabilities (N, K) is below that of the frequencies, or their mean
    recall above that of one class, at the 5 % level. A group is one observation.

    Classes with fewer than KNOWN_IMAGES images do not count for the mean recall.

    >>> y = [0] * 90 + [1] * 10
    >>> beats_constant_answer([[0.9, 0.1]] * 100, y)
    False
    >>> beats_constant_answer([[0.99, 0.01]] * 80 + [[0.6, 0.4]] * 20, y)
    True
    """
    y = np.asarray(labels)
    if _is_gain(frequencies_gain(probabilities, y), np.ones(len(y)), groups):
        return True
    counts = np.bincount(y)
    known = counts >= KNOWN_IMAGES
    right = np.asarray(probabilities).argmax(axis=1) == y if len(y) else np.empty(0)
    share = np.where(known, 1 / np.maximum(counts, 1), 0)[y]
    return bool(known.sum() > 1) and _is_gain(right - 1 / known.sum(), share, groups)


def frequencies_gain(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> FloatArray:
    """How much lower each image's loss is than that of the frequencies of the labels, (N,) nats."""
    y = np.asarray(labels)
    constant: FloatArray = -np.log(np.bincount(y) / len(y))[y]
    return constant - log_loss(probabilities, y)


def beats_prevalences(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike | None = None
) -> bool:
    """The same for findings: probabilities (N, K), labels (N, K) of 1, 0, or NaN if unknown."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    known = ~np.isnan(y)
    share = np.where(known, y, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    of_truth, of_constant = (np.where(y == 1, each, 1 - each) for each in (p, share))
    gain = np.log(np.maximum(of_truth, SMALLEST)) - np.log(np.maximum(of_constant, SMALLEST))
    return _is_gain(np.where(known, gain, 0).sum(axis=1), np.ones(len(y)), groups)


def _is_gain(gain: FloatArray, weight: FloatArray, groups: npt.ArrayLike | None) -> bool:
    """Whether the mean of gains (N,), weighted, is above 0."""
    if not len(gain):
        return False
    share = weight / weight.sum()
    least = max(ONE_SIDED_95 * standard_error(gain, groups, share), ROUNDING)
    return float(share @ gain) > least
