"""The bets of the drift detector: e of every label, and M <- e (M + 1) along every stream.

The arithmetic is + - * / alone, which IEEE rounds the same way for one label and for a million. So
labels in bulk and labels one by one end in the same state, bit for bit. What the bets mean:
`calibration.drift.detector`.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray
from calibration.drift.tolerance import edges

LOG_ODDS_SHIFTS = np.array([0.1, 0.2, 0.4, 0.8, 1.6])
# per stream: side 0 (over) in the first half, side 1 (under) in the second
BETS = 2 * len(LOG_ODDS_SHIFTS)
_ODDS = np.exp(np.stack([-LOG_ODDS_SHIFTS, LOG_ODDS_SHIFTS]))  # (2, 5) e^(-+d)
_CAP = 1e280  # far beyond any alarm, and one more bet cannot overflow


def bets_of(
    p: FloatArray, right: npt.NDArray[np.bool_], tolerance: float, *, flat: bool = False
) -> FloatArray:
    """Return the bets e (n, 10) of labels (n,).

    With q = p o / (1 - p + p o), o = e^(-+d): q/p = o / (1 + p (o - 1)) and (1-q)/(1-p) = 1 / (1 +
    p (o - 1)). For p stand the `edges` of what the claim allows; `flat` as there.
    """
    allowed = edges(p, tolerance, flat=flat)[:, :, None]
    # (n, 2, 5)
    bets: FloatArray = np.where(right[:, None, None], _ODDS, 1.0) / (1.0 + allowed * (_ODDS - 1.0))
    return bets.reshape(len(p), BETS)


class StreamSteps(NamedTuple):
    """What bets do to the streams: E factors, in the order of the bets.

    Attributes:
        owner: (E,) number of the bet, from 0.
        rows: (E,) the stream, distinct within a bet.
        factor: (E, 10).
    """

    owner: IntArray
    rows: IntArray
    factor: FloatArray


def steps_of(bets: FloatArray, streams: IntArray, owner: IntArray) -> StreamSteps:
    """Average the bets of labels that share one.

    In each stream, a bet of m labels is the mean of m bets, where a label of other streams bets 1.
    So its expectation is at most 1, however its labels depend on each other.

    Args:
        bets: (n, 10) of the labels.
        streams: (n, groups) the rows that each label belongs to, distinct in each label.
        owner: (n,) the bet that each label belongs to: 0, 1 and so on, in this order.
    """
    n, groups = streams.shape
    size = np.bincount(owner)
    if len(size) == n:  # the same by shorter arithmetic
        return StreamSteps(
            np.repeat(owner, groups), streams.ravel(), np.repeat(bets, groups, axis=0)
        )
    width = int(streams.max()) + 1
    key, place = np.unique(owner[:, None] * width + streams, return_inverse=True)
    total = np.zeros((len(key), BETS))
    np.add.at(total, place.ravel(), np.repeat(bets, groups, axis=0))  # from the first label on
    count, of = np.bincount(place.ravel()), size[key // width]
    return StreamSteps(key // width, key % width, (total + (of - count)[:, None]) / of[:, None])


def run(before: FloatArray, steps: StreamSteps) -> tuple[FloatArray, FloatArray]:
    """Run M <- e (M + 1) along all streams at once: turn k takes each stream's k-th factor.

    `before` is M so far, (rows, 10). Returns (E, 10) M after each step in its stream, and (rows,
    10) M after all.
    """
    counts = np.bincount(steps.rows, minlength=len(before))
    longest_first = np.argsort(-counts, kind="stable")
    place = np.empty_like(longest_first)
    place[longest_first] = np.arange(len(before))
    # How many streams have a turn k: the first `width[k]` of longest_first.
    turns = int(counts.max(initial=0))
    width = len(before) - np.searchsorted(np.sort(counts), np.arange(turns), side="right")
    offset = np.concatenate([[0], np.cumsum(width)])
    by_stream = np.argsort(steps.rows, kind="stable")
    turn = np.empty_like(steps.rows)
    turn[by_stream] = np.arange(len(turn)) - np.repeat(np.cumsum(counts) - counts, counts)
    position = offset[turn] + place[steps.rows]
    factor = np.empty_like(steps.factor)
    factor[position] = steps.factor
    trace, previous = np.empty_like(factor), before[longest_first]
    for begin, wide in zip(offset.tolist(), width.tolist(), strict=False):
        current = trace[begin : begin + wide]
        np.add(previous[:wide], 1.0, out=current)
        np.multiply(current, factor[begin : begin + wide], out=current)
        np.minimum(current, _CAP, out=current)
        previous = current
    after, seen = before.copy(), counts > 0
    after[seen] = trace[offset[counts[seen] - 1] + place[seen]]
    return trace[position], after


def state_at(before: FloatArray, trace: FloatArray, steps: StreamSteps, bet: int) -> FloatArray:
    """Return M (rows, 10) after bet number `bet`."""
    m, until = before.copy(), int(np.searchsorted(steps.owner, bet, side="right"))
    for row, values in zip(steps.rows[:until], trace[:until], strict=True):
        m[row] = values
    return m


def ordered_sum(values: FloatArray) -> FloatArray:
    """Return the sums (n,) of rows, added from left to right, unlike NumPy's `sum`."""
    return np.asarray(np.add.accumulate(values, axis=1)[:, -1])
