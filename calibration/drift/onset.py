"""The onset of a drift: the label from which confidence stopped being true, with an interval.

Suppose confidences were true up to label j - 1 and log-odds are shifted by d from j on. Then label
i >= j multiplies the likelihood by r_i = q_i/p_i (right) or (1-q_i)/(1-p_i) (wrong), where q_i =
sigmoid(logit(p_i) -+ d). The sum over j of these products is the statistic that raises a
Shiryaev-Roberts alarm. So the share of each term is the posterior of its j, with every start and,
here, every d of a grid equally likely beforehand (Shiryaev 1963; Pollak 1985).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, paired
from calibration.drift.state import Direction

SHIFTS = np.array([0.2, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4, 3.2])
_CLIP = 1e-6


@dataclass(frozen=True)
class Onset:
    """The first label of the change, counted from 0 in the given stream.

    Attributes:
        label: the most likely one.
        lower, upper: the change is between these two, both included, with probability `level`.
    """

    label: int
    lower: int
    upper: int


def onset(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, direction: Direction, level: float = 0.95
) -> Onset | None:
    """Estimate the label since which confidence (N,) has been wrong; None without labels.

    Labels are in their order, and `direction` is 'over' if confidence exceeds accuracy, as the
    alarm said. ValueError if shapes differ.

    >>> onset([0.9] * 40, [True] * 9 + [False] + [True] * 10 + [False] * 20, direction="over")
    Onset(label=20, lower=18, upper=21)
    """
    given, right = paired(confidence, np.asarray(correct, dtype=bool))
    p = np.clip(given.astype(np.float64), _CLIP, 1 - _CLIP)
    if not len(p):
        return None
    share = _weights(p, right, -SHIFTS if direction == "over" else SHIFTS)
    below = np.cumsum(share)
    tail = (1 - level) / 2
    lower, upper = np.searchsorted(below, [tail, 1 - tail])
    return Onset(int(share.argmax()), int(lower), int(min(upper, len(p) - 1)))


def _weights(p: FloatArray, right: npt.NDArray[np.bool_], shifts: FloatArray) -> FloatArray:
    """Return the posterior (N,) of each start."""
    # (N, shifts) log r
    step = np.where(right[:, None], shifts, 0.0) - np.log1p(p[:, None] * np.expm1(shifts))
    log_likelihood = np.logaddexp.reduce(np.cumsum(step[::-1], axis=0)[::-1], axis=1)
    share = np.exp(log_likelihood - log_likelihood.max())
    return np.asarray(share / share.sum())
