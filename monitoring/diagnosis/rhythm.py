"""How old is too old, by a version's own rhythm: how often answers and labels come, how late."""

import math
from dataclasses import dataclass

import numpy as np

from calibration.bins import FloatArray

DAY_S = 86_400.0
_LABELS_S, _ANSWERS_S = 14 * DAY_S, 28 * DAY_S  # the shortest times that count as long
_LONG = 3.0  # times the usual pause
_AT_ONCE = 0.1  # of the time in which answers were served: an upload says nothing about delays
_USUAL, _LATE = 0.95, 0.99  # quantiles of pauses and of delays


@dataclass(frozen=True)
class Rhythm:
    """Seconds: pauses of labels and answers that are long, and the delay of nearly all labels."""

    labels_s: float
    answers_s: float
    delay_s: float


def rhythm_of(served_s: FloatArray, received_s: FloatArray, answered_s: FloatArray) -> Rhythm:
    """Return the rhythm of a version.

    Where all labels arrived at once, after the fact, their delay is not known, and taken for 0.

    Args:
        served_s, received_s: (N,) when labeled answers were served, and their labels arrived.
        answered_s: (D,) days on which answers were served, in order.
    """
    at_once = len(served_s) > 0 and np.ptp(received_s) < _AT_ONCE * np.ptp(served_s)
    came_s = served_s if at_once else received_s
    late = np.maximum(came_s - served_s, 0.0)
    return Rhythm(
        labels_s=max(_LABELS_S, _LONG * _pause(came_s)),
        answers_s=max(_ANSWERS_S, _LONG * _pause(answered_s)),
        delay_s=float(np.quantile(late, _LATE)) if len(late) else 0.0,
    )


def _pause(times_s: FloatArray) -> float:
    """The usual pause between days on which something came; 0 for fewer than three."""
    days = np.unique(times_s // DAY_S)
    return float(np.quantile(np.diff(days), _USUAL)) * DAY_S if len(days) > 2 else 0.0


def is_old(newest_s: float, now_s: float, limit_s: float) -> bool:
    """Whether the newest is longer ago than that; False if there is none (NaN)."""
    return math.isfinite(newest_s) and now_s - newest_s > limit_s
