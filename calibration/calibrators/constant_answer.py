"""Whether probabilities say more about the labels than the best constant answer.

That is the frequencies of these labels, whose NLL is their entropy. So an answer that is the same
for each image never passes, and one that ranks a rare class well does, though it never predicts it.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray
from calibration.calibrators.remedies import standard_error
from calibration.measures.metrics import SMALLEST, log_loss

ONE_SIDED_95: Final = 1.645  # standard errors
ROUNDING: Final = 1e-9  # nats for each image


def beats_frequencies(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike | None = None
) -> bool:
    """Whether the NLL of probabilities (N, K) is below that of the frequencies, at the 5 % level.

    Args:
        probabilities: of exclusive classes, in [0, 1].
        labels: (N,) in 0..K-1.
        groups: (N,); a group is one observation.

    >>> y = [0] * 90 + [1] * 10
    >>> beats_frequencies([[0.9, 0.1]] * 100, y)
    False
    >>> beats_frequencies([[0.99, 0.01]] * 80 + [[0.6, 0.4]] * 20, y)
    True
    """
    y = np.asarray(labels)
    return _is_gain(-np.log(np.bincount(y) / len(y))[y] - log_loss(probabilities, y), groups)


def beats_prevalences(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike | None = None
) -> bool:
    """The same for findings: probabilities (N, K), labels (N, K) of 1, 0, or NaN if unknown."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    known = ~np.isnan(y)
    share = np.where(known, y, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    of_truth, of_constant = (np.where(y == 1, each, 1 - each) for each in (p, share))
    gain = np.log(np.maximum(of_truth, SMALLEST)) - np.log(np.maximum(of_constant, SMALLEST))
    return _is_gain(np.where(known, gain, 0).sum(axis=1), groups)


def _is_gain(gain: FloatArray, groups: npt.ArrayLike | None) -> bool:
    if not len(gain):
        return False
    error = standard_error(gain, np.full(len(gain), 1 / len(gain)), groups)
    return bool(gain.mean() > max(ONE_SIDED_95 * error, ROUNDING))
