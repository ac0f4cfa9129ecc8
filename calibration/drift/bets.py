"""The bets of the drift detector: e of every label, and M <- e (M + 1) along every stream.

The arithmetic is + - * / alone, which IEEE rounds the same way for one label and for a million. So
labels in bulk and labels one by one end in the same state, bit for bit. What the bets mean:
`calibration.drift.detector`.

The error of a confidence that is not worth an alarm is t (1 + z^2) at log-odds z. A tolerance of
probability is wrong at both ends: 0.01 is little at 0.8, and at 0.995 hides errors that became
three times as frequent. A calibrator that was fitted on n images errs there by more in log-odds,
because so few of them were wrong. The square follows that: by simulation, a temperature fitted on
1,000 images leads to an alarm within 20,000 labels as rarely at a mean confidence of 0.995 as at
0.82.

Probabilities of a rare finding are small as a rule, not because the calibrator is sure. There the
square would hide that the finding has become twice as frequent. So the tolerance of a finding is
flat: t at every log-odds.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray

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
        streams: (n, groups) the rows of each label, distinct.
        owner: (n,) the bet of each label: 0, 1 and so on, in this order.
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
