"""The error of a confidence that is not worth an alarm, in log-odds: t (1 + z^2) at log-odds z.

A tolerance of probability is wrong at both ends: 0.01 is little at 0.8, and at 0.995 hides errors
that became three times as frequent. A calibrator that was fitted on n images errs there by more in
log-odds, because so few of them were wrong. The square follows that: by simulation, a
temperature fitted on 1,000 images leads to an alarm within 20,000 labels as rarely at a mean
confidence of 0.995 as at 0.82 (benchmarks/monitoring, `tolerances`).

Probabilities of a rare finding are small as a rule, not because the calibrator is sure. There the
square would hide that the finding has become twice as frequent. So the tolerance of a finding is
flat: t at every log-odds.
"""

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray

CLIP = 1e-6
_STEPS = np.arange(0.0, 14.0, 0.25)  # |z| is rounded down to one of these
_BEGIN = 1 / (1 + np.exp(-_STEPS[1:]))  # the confidence at which each but the first begins


def edges(confidence: FloatArray, tolerance: float, *, flat: bool = False) -> FloatArray:
    """Return the least and the largest accuracy (n, 2) within the tolerance of confidence (n,).

    `flat`: the tolerance is the same at every log-odds.

    After a table of factors the arithmetic is + - * / alone, as in `calibration.drift.bets`. A
    confidence of 1 that was rounded may be wrong: the least accuracy is below 1 in any case.

    >>> edges(np.array([0.5, 0.8, 0.95, 0.995]), 0.025)[:, 0].round(4).tolist()
    [0.4938, 0.7896, 0.9388, 0.9898]
    """
    step = np.searchsorted(_BEGIN, np.maximum(confidence, 1 - confidence), side="right")
    factor = np.exp(-tolerance * (1 + (0.0 if flat else 1.0) * _STEPS * _STEPS))[step]
    low, high = np.minimum(confidence, 1 - CLIP), np.maximum(confidence, CLIP)
    least = low * factor / (1 - low + low * factor)
    return np.stack([least, high / (high + (1 - high) * factor)], axis=1)


def allowed_gap(confidence: npt.ArrayLike, tolerance: float) -> FloatArray:
    """Return by how much accuracy may fall short of confidence (n,), or of one.

    >>> allowed_gap([0.8, 0.995], 0.025).round(4).tolist()
    [0.0104, 0.0052]
    """
    given = np.asarray(confidence, dtype=np.float64)
    return np.asarray(given - edges(given.ravel(), tolerance)[:, 0].reshape(given.shape))
