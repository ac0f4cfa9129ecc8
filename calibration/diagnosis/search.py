"""The search for groups that changed: the best one, then the best of what it leaves unexplained.

The exact tails of single groups come last: more wrong, or right, answers than the confidences
allow. A mixture of e-values pays for every beginning and shape. Of a rare group with few errors
that price is too high, so where the scan finds nothing, the tail probability of each value's count
is looked at as well: of all its labels, of the newer half, quarter and eighth, and of each pair of
values of two keys. Bonferroni's correction counts all of them.

The count is a sum of independent answers with their own probabilities, the confidences moved by the
tolerance. Its tail is the saddlepoint approximation of Lugannani and Rice (1980) for lattices,
which is within a few percent of the exact one even for counts of a few.
"""

import math
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist
from typing import Final

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import BLOCKS
from calibration.diagnosis.correction import corrected
from calibration.diagnosis.evidence import CELLS, POSITIONS, histogram, sigmoid, tolerance
from calibration.diagnosis.facts import Shape
from calibration.diagnosis.groups import ALL, CONFIDENCE, DRAWN, UNKNOWN, Key
from calibration.diagnosis.scan import (
    Hypothesis,
    alike,
    by_time,
    evidence_of_all,
    scan,
)
from calibration.diagnosis.stream import Stream

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
    sums = histogram(cells, size, stream.cells)[: count * width]
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


STRONG: Final = math.log(20)
WEAK: Final = 1.5  # a guess; chance shows one in fewer than 1 of 100 calibrated streams
_OCCAM = math.log(10)  # "all" is taken unless a set is this much better
_EVIDENT = 3 * STRONG  # tails are not looked at from here on
_MOST = 8  # groups
_OF_ALL = 10 * STRONG  # an error of all beside one of a group
SPELL: Final = 3  # blocks in which an error of all has one form


@dataclass(frozen=True)
class Explanation:
    """A hypothesis that is kept, with others that these labels cannot tell from it.

    `siblings`: of the same key, other values; `twins`: of other keys.
    """

    best: Hypothesis
    twins: tuple[Hypothesis, ...]
    siblings: tuple[Hypothesis, ...]


def search(stream: Stream) -> tuple[list[Explanation], float]:
    """Return the groups that changed, most evident first, and the log evidence of the best."""
    found: list[Explanation] = []
    evidence = -math.inf
    while len(found) < _MOST:
        best = _next(stream, [each.best for each in found])
        if not found:
            evidence = best.best.score
        if best.best.score < (STRONG if found else WEAK) or _repeats(
            best.best, [each.best for each in found]
        ):
            break
        found.append(best)
    return _merged(stream, found), evidence


def most_evident(stream: Stream) -> float:
    """The log evidence of the best hypothesis."""
    return _next(stream, []).best.score


def _next(stream: Stream, found: list[Hypothesis]) -> Explanation:
    left = corrected(stream, found)
    hypotheses = scan(left)
    best = _plausible(left, hypotheses, found)
    part = by_time(left, best)[0]
    if not found:
        tails = [each for each in surprising(left) if each.score >= WEAK]
        part = _part(part, tails) if best.score >= _EVIDENT else _simplest([part, *tails])
    part = _since_break(left, part)
    near = [
        each
        for each in hypotheses
        if each.score > max(part.score, best.score) - STRONG and not _same_group(each, part)
    ]
    twins = alike(left, part)
    known = {part.key, CONFIDENCE, ALL, DRAWN, *(each.key for each in twins)}
    twins += [each for each in near if each.key not in known]
    siblings = tuple(each for each in near if each.key == part.key and _apart(each, best))
    return Explanation(part, tuple(twins[:3]), siblings[:3])


def _part(whole: Hypothesis, tails: list[Hypothesis]) -> Hypothesis:
    """One value of another key in the group, or in one of its values, if its tail is 10 times less
    likely than the whole's: the scan, which looks at more beginnings, pays more for a part than for
    a group.
    """
    inside = [each for each in tails if _is_of(whole, each.key, each.values)]
    parts = [
        each for each in tails if each.within and (each in inside or _is_of(whole, *each.within))
    ]
    best = max(parts, key=lambda each: each.score, default=whole)
    least = max(each.score for each in (whole, *inside) if not each.within)
    return replace(best, begin=whole.begin) if best.score > least + _OCCAM else whole


def _is_of(whole: Hypothesis, key: str, values: tuple[int, ...]) -> bool:
    return key == whole.key and set(values) <= set(whole.values)


def _since_break(stream: Stream, part: Hypothesis) -> Hypothesis:
    """The last stretch of an error that goes on; what was before a break is found by itself."""
    inside = stream.only(part.members(stream))
    evidence = evidence_of_all(inside)[0, part.begin : part.end]  # (blocks, alternatives)
    course = evidence[:, evidence.sum(axis=0).argmax()]
    running = np.concatenate([[0.0], course.cumsum()])
    fall = running - np.maximum.accumulate(running)
    end = int(fall.argmin())
    if part.end < BLOCKS or fall[end] > -_EVIDENT or running[-1] - running[end] < STRONG:
        return part
    return replace(part, begin=part.begin + end)


def _plausible(left: Stream, hypotheses: list[Hypothesis], found: list[Hypothesis]) -> Hypothesis:
    """The best hypothesis; "all" if that does nearly as well."""
    best, everyone = hypotheses[0], next(each for each in hypotheses if each.key == ALL)
    if best.key == CONFIDENCE and found:
        return next(each for each in hypotheses if each.key != CONFIDENCE)
    return everyone if not found and everyone.score > best.score - _OCCAM else best


def _simplest(candidates: list[Hypothesis]) -> Hypothesis:
    """The simplest that is at most 10 times worse than the best: all, then a set, then a part."""
    best = max(each.score for each in candidates)
    near = [each for each in candidates if each.score > best - _OCCAM]
    return min(near, key=lambda each: (each.key != ALL, each.within is not None, -each.score))


def _apart(one: Hypothesis, other: Hypothesis) -> bool:
    return not set(one.values) & set(other.values)


def _repeats(best: Hypothesis, found: list[Hypothesis]) -> bool:
    """Whether it is the form or the course of an error that is known, not another error."""
    if not found:
        return False
    if best.key == CONFIDENCE or (found[0].key == ALL and best.score < 2 * STRONG):
        return True
    if best.key == ALL and best.score < _OF_ALL:  # what the form of a group's error leaves
        return True
    return any(_same_group(best, each) and _overlap(best, each) for each in found)


def _same_group(one: Hypothesis, other: Hypothesis) -> bool:
    return one.key == other.key and set(one.values) <= set(other.values)


def _overlap(one: Hypothesis, other: Hypothesis) -> bool:
    return one.begin < other.end and other.begin < one.end


def _merged(stream: Stream, found: list[Explanation]) -> list[Explanation]:
    """One finding for groups of one key that erred alike since the same time; all, if that is
    everybody.
    """
    kept: list[Explanation] = []
    for each in found:
        same = next((old for old in kept if _alike(stream, old, each)), None)
        if same is None:
            kept.append(each)
        else:
            kept[kept.index(same)] = _union(same, each)
    return [_named(stream, each) for each in kept]


def _named(stream: Stream, each: Explanation) -> Explanation:
    if not each.best.members(stream).all():
        return each
    return replace(each, best=replace(each.best, key=ALL, values=()))


def _alike(stream: Stream, first: Explanation, second: Explanation) -> bool:
    one, other = first.best, second.best
    if one.key != other.key or one.within or other.within or not _overlap(one, other):
        return False
    if UNKNOWN in _union(first, second).best.group(stream).values:
        return False
    if _direction(stream, one) != _direction(stream, other):
        return False
    return len(by_time(stream, _union(first, second).best)) == 1


def _direction(stream: Stream, each: Hypothesis) -> float:
    rows = each.rows(stream)
    gap = sigmoid(stream.z[rows]) - stream.right[rows]
    return float(np.sign((stream.weight[rows] * gap).sum()))


def _union(one: Explanation, other: Explanation) -> Explanation:
    best = replace(
        one.best,
        values=tuple(sorted({*one.best.values, *other.best.values})),
        begin=min(one.best.begin, other.best.begin),
        end=max(one.best.end, other.best.end),
    )
    siblings = tuple(each for each in one.siblings if _apart(each, best))
    return Explanation(best, one.twins, siblings)
