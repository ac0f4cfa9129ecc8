"""Exact tails of single groups: more wrong, or right, answers than the confidences allow.

A mixture of e-values pays for every beginning and shape. Of a rare group with few errors that
price is too high, so where the scan finds nothing, the tail probability of each value's count is
looked at as well: of all its labels, of the newer half, quarter and eighth, and of each pair of
values of two keys. Bonferroni's correction counts all of them.

The count is a sum of independent answers with their own probabilities, the confidences moved by
the tolerance. Its tail is the saddlepoint approximation of Lugannani and Rice (1980) for lattices,
which is within a few percent of the exact one even for counts of a few.
"""

import math
from itertools import combinations
from statistics import NormalDist

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.evidence import CELLS, POSITIONS, histogram, sigmoid, tolerance
from calibration.diagnosis.facts import Shape
from calibration.diagnosis.groups import ALL, CONFIDENCE, DRAWN, Key
from calibration.diagnosis.scan import Hypothesis
from calibration.diagnosis.stream import Stream
from calibration.diagnosis.windows import BLOCKS

_STARTS = (0, 12, 18, 21)  # blocks
_MOST_PAIRS = 400
_RESERVE = 1.0  # nats: chance shows a group in fewer than 2 of 100 calibrated streams
_FEWEST = 3.0  # errors beyond the expected ones
_STEPS = 60
_NORMAL = NormalDist()


def surprising(stream: Stream) -> list[Hypothesis]:
    """Values, and pairs of values, whose counts of wrong or right answers are most surprising.

    One of each key and pair of keys. The score is -log p, less log m for the m tails of the key,
    less the key's share of a prior: a quarter for all answers, a half for keys, a quarter for
    pairs, and less 1.
    """
    keys = [key for key in stream.keys.values() if key.name != DRAWN]
    pairs = _pairs(keys)
    everyone = Key(ALL, np.zeros(len(stream.z), np.int64), (ALL,))
    found = [
        _most_surprising(stream, everyone, None, math.log(4)),
        *(_most_surprising(stream, key, None, math.log(2 * len(keys))) for key in keys),
        *(_most_surprising(stream, *pair, math.log(4 * len(pairs))) for pair in pairs),
    ]
    return [each for each in found if each]


def _pairs(keys: list[Key]) -> list[tuple[Key, Key]]:
    """Pairs of keys with few enough values."""
    nominal = [key for key in keys if key.name != CONFIDENCE]
    return [
        (one, other)
        for one, other in combinations(nominal, 2)
        if len(one.names) * len(other.names) <= _MOST_PAIRS
    ]


def _most_surprising(
    stream: Stream, key: Key, within: Key | None, price: float
) -> Hypothesis | None:
    codes, count = _joint(key, within)
    windows = _windows(stream, np.where(codes < 0, count, codes), count)
    least, place = min(_least_likely(windows, side) for side in (1, -1))
    if not least:
        return None
    score = -least - math.log(2 * count * len(_STARTS)) - price - _RESERVE
    return _hypothesis(key, within, *divmod(place, len(_STARTS)), score=score)


def _windows(stream: Stream, codes: IntArray, count: int) -> FloatArray:
    """Histograms (count x starts, CELLS) of the labels of each code from each start on."""
    width = len(_STARTS)
    part = np.searchsorted(_STARTS, stream.block, side="right") - 1
    cells, size = codes * width + part, (count + 1) * width
    sums = histogram(cells, size, stream.z, stream.right, stream.weight)[: count * width]
    since = sums.reshape(count, width, CELLS)[:, ::-1].cumsum(axis=1)[:, ::-1]
    return np.asarray(since.reshape(-1, CELLS))


def _joint(key: Key, within: Key | None) -> tuple[IntArray, int]:
    if within is None:
        return key.codes, len(key.names)
    joint = key.codes * len(within.names) + within.codes
    both = (key.codes >= 0) & (within.codes >= 0)
    return np.where(both, joint, -1), len(key.names) * len(within.names)


def _hypothesis(key: Key, within: Key | None, cell: int, start: int, *, score: float) -> Hypothesis:
    begin = _STARTS[start]
    if within is None:
        values = () if key.name == ALL else (cell,)
        return Hypothesis(score, key.name, values, begin, BLOCKS, Shape.SHIFT)
    one, other = divmod(cell, len(within.names))
    second = within.name, (other,)
    return Hypothesis(score, key.name, (one,), begin, BLOCKS, Shape.SHIFT, second)


def _least_likely(counts: FloatArray, side: int) -> tuple[float, int]:
    """Log probability of the least likely tail of `counts` (rows, CELLS), and its row.

    Args:
        counts: histograms of labels.
        side: 1: too many wrong answers; -1: too many right ones.
    """
    wrong, right = np.split(counts, 2, axis=1)
    p = sigmoid(-side * (POSITIONS - side * tolerance(POSITIONS)))
    hits = (wrong if side > 0 else right).sum(axis=1)
    total = wrong + right
    mean = total @ p
    spread = np.sqrt(total @ (p * (1 - p)))
    rows = np.flatnonzero((hits > mean + 3 * spread) & (hits > mean + _FEWEST))
    tails = [log_tail(total[row], p, float(hits[row])) for row in rows]
    if not tails:
        return 0.0, 0
    best = int(np.argmin(tails))
    return tails[best], int(rows[best])


def log_tail(counts: FloatArray, p: FloatArray, hits: float) -> float:
    """Log of P(X >= hits), X the sum of `counts` (k,) independent trials with probabilities p (k,).

    Args:
        counts: how many trials have each probability; need not be whole.
        p: in (0, 1).
        hits: more than the mean of X.

    >>> exact = 0.1**3 + 3 * 0.1**2 * 0.9
    >>> round(math.exp(log_tail(np.array([3.0]), np.array([0.1]), 2.0)) / exact, 1)
    1.0
    """
    x = min(hits - 0.5, float(counts.sum()) - 0.25)
    low, high = 0.0, 40.0
    for _ in range(_STEPS):
        t = (low + high) / 2
        tilted = p * math.exp(t) / (1 - p + p * math.exp(t))
        low, high = (t, high) if float(counts @ tilted) < x else (low, t)
    cumulant = float(counts @ np.log1p(p * math.expm1(t)))
    w = math.sqrt(max(2 * (t * x - cumulant), 1e-12))
    u = 2 * math.sinh(t / 2) * math.sqrt(float(counts @ (tilted * (1 - tilted))))
    # 1 - Phi(w) is lost in rounding beyond 8 standard deviations
    mills = 1 / w - 1 / w**3 if w > 8 else (1 - _NORMAL.cdf(w)) / _NORMAL.pdf(w)
    density = -w * w / 2 - math.log(2 * math.pi) / 2
    return density + math.log(max(mills + 1 / u - 1 / w, 1e-300))
