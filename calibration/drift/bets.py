"""The bets of the drift detector: e of every label, and M <- e (M + 1) along every stream.

The arithmetic is + - * / alone, which IEEE rounds the same way for one label and for a million. So
labels in bulk and labels one by one end in the same state, bit for bit. What the bets mean:
`calibration.drift.detector`.
"""

import numpy as np
import numpy.typing as npt

from calibration.bins import FloatArray, IntArray

LOG_ODDS_SHIFTS = np.array([0.1, 0.2, 0.4, 0.8, 1.6])
# per stream: side 0 (over) in the first half, side 1 (under) in the second
BETS = 2 * len(LOG_ODDS_SHIFTS)
_ODDS = np.exp(np.stack([-LOG_ODDS_SHIFTS, LOG_ODDS_SHIFTS]))  # (2, 5) e^(-+d)
_CLIP = 1e-6
_CAP = 1e280  # far beyond any alarm, and one more bet cannot overflow


def bets_of(p: FloatArray, right: npt.NDArray[np.bool_], tolerance: float) -> FloatArray:
    """Return the bets e (n, 10) of labels (n,); 1 on a side without room for a bet.

    With q = p o / (1 - p + p o), o = e^(-+d): q/p = o / (1 + p (o - 1)) and (1-q)/(1-p) = 1 / (1 +
    p (o - 1)).
    """
    edges = np.stack(
        [np.maximum(p - tolerance, _CLIP), np.minimum(p + tolerance, 1 - _CLIP)], axis=1
    )[:, :, None]
    # (n, 2, 5)
    bets: FloatArray = np.where(right[:, None, None], _ODDS, 1.0) / (1.0 + edges * (_ODDS - 1.0))
    bets[~(p - tolerance > _CLIP), 0] = 1.0
    bets[~(p + tolerance < 1 - _CLIP), 1] = 1.0
    return bets.reshape(len(p), BETS)


def run(before: FloatArray, bets: FloatArray, streams: IntArray) -> tuple[FloatArray, FloatArray]:
    """Run M <- e (M + 1) along all streams at once: step k takes each stream's k-th label.

    Args:
        before: (rows, 10) M so far.
        bets: (n, 10).
        streams: (n, groups) the rows that each label belongs to, distinct in each label.

    Returns:
        (n * groups, 10) M after each label in each of its streams, and (rows, 10) M after all
        labels.
    """
    flat = streams.ravel()
    counts = np.bincount(flat, minlength=len(before))
    longest_first = np.argsort(-counts, kind="stable")
    place = np.empty_like(longest_first)
    place[longest_first] = np.arange(len(before))
    # How many streams have a step k: the first `width[k]` of longest_first.
    steps = int(counts.max(initial=0))
    width = len(before) - np.searchsorted(np.sort(counts), np.arange(steps), side="right")
    offset = np.concatenate([[0], np.cumsum(width)])
    by_stream = np.argsort(flat, kind="stable")
    step = np.empty_like(flat)
    step[by_stream] = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
    position = offset[step] + place[flat]
    factor = np.empty((len(flat), BETS))
    factor[position] = np.repeat(bets, streams.shape[1], axis=0)
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


def state_at(before: FloatArray, trace: FloatArray, streams: IntArray, label: int) -> FloatArray:
    """Return M (rows, 10) after label number `label`."""
    m, groups = before.copy(), streams.shape[1]
    for row, values in zip(
        streams[: label + 1].ravel(), trace[: groups * (label + 1)], strict=True
    ):
        m[row] = values
    return m


def ordered_sum(values: FloatArray) -> FloatArray:
    """Return the sums (n,) of rows, added from left to right, unlike NumPy's `sum`."""
    return np.asarray(np.add.accumulate(values, axis=1)[:, -1])
