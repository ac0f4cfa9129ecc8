"""The scan: every key, every set of values worth naming, every window, every shape of error.

A hypothesis' score is the log of its e-value, mixed over windows and shapes, less the price of its
group. Scores are weights of one mixture, so P(any score >= log(1/a)) <= a for true confidences.

For a given window and shape the best set of values is known: those whose own evidence exceeds what
it costs to name one more. Only such sets are looked at, the same for each shape, and single values.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import (
    BEGIN,
    END,
    OPEN,
    PRIOR,
    BoolArray,
    most_in_a_row,
    window_sums,
)
from calibration.diagnosis.evidence import (
    FAMILY,
    SHAPE_PRIOR,
    log_sum_exp,
    overconfident,
)
from calibration.diagnosis.facts import AnswerGroup, Shape
from calibration.diagnosis.groups import (
    ALL,
    CONFIDENCE,
    DRAWN,
    TAG,
    Key,
    price_of_key,
    price_of_set,
)
from calibration.diagnosis.stream import Stream

_PRIOR = PRIOR[:, None] + SHAPE_PRIOR[None]  # (windows, alternatives)
_MOST_VALUES = 48  # of a key, those with the most evidence
_SINGLES = 3
_ALIKE = 0.9  # of the answers of two sets are the same
_TIMES = math.log(20)  # and two beginnings than one
_BLOCKS_APART = 2  # a change within a block begins for some values with the next
_CLEAR = math.log(1000)  # and two ends: an error that goes on may seem to have ended


@dataclass(frozen=True)
class Hypothesis:
    """A group that was wrong in one way from block `begin` to before block `end`.

    `within`: another key and values that narrow the group; None if none do.
    """

    score: float
    key: str
    values: tuple[int, ...]
    begin: int
    end: int
    shape: Shape
    within: tuple[str, tuple[int, ...]] | None = None

    def members(self, stream: Stream) -> BoolArray:
        """Which labels (n,) are of the group, at any time."""
        inside = np.ones(len(stream.z), dtype=bool)
        if self.key != ALL:
            inside = stream.keys[self.key].members(self.values)
        if self.within:
            inside = inside & stream.keys[self.within[0]].members(self.within[1])
        return inside

    def rows(self, stream: Stream) -> BoolArray:
        """Which labels (n,) are of the group and the window."""
        return self.members(stream) & (stream.block >= self.begin) & (stream.block < self.end)

    def group(self, stream: Stream) -> AnswerGroup:
        if self.key == ALL:
            return AnswerGroup(ALL)
        within = self.within and stream.keys[self.within[0]].group(self.within[1])
        return stream.keys[self.key].group(self.values, within or None)


def scan(stream: Stream, keys: Iterable[str] | None = None) -> list[Hypothesis]:
    """Return the hypotheses worth naming, best first; "all" is always among them.

    Args:
        stream: labels, weights and what P(right) is supposed to be.
        keys: look at these alone, at the price of all.
    """
    return sorted(_hypotheses(stream, keys), key=lambda each: -each.score)


def _hypotheses(stream: Stream, keys: Iterable[str] | None) -> Iterator[Hypothesis]:
    yield whole(stream)
    price = price_of_key(len(stream.keys))
    for key in stream.keys.values():
        if keys is None or key.name in keys:
            yield from _of_key(stream.evidence(key), key, price)


def whole(stream: Stream) -> Hypothesis:
    """The hypothesis that all answers changed."""
    return _scored(window_sums(evidence_of_all(stream))[0], ALL, (), math.log(2))


def group_evidence(
    stream: Stream, members: BoolArray, *, over: bool | None = None
) -> tuple[float, float]:
    """Log evidence of one group without a price: of its open windows, and of the closed ones.

    Args:
        stream: all labels.
        members: (n,) those of the group.
        over: look for overconfidence alone (True), or underconfidence alone (False).
    """
    sums = window_sums(evidence_of_all(stream.only(members)))[0] + _PRIOR
    if over is not None:
        sums = sums[:, overconfident() == over]
    return float(log_sum_exp(sums[OPEN])), float(log_sum_exp(sums[~OPEN]))


def evidence_of_all(stream: Stream) -> FloatArray:
    """Log e (1, BLOCKS, alternatives) of all labels."""
    n = len(stream.z)
    return stream.evidence(Key(ALL, np.zeros(n, np.int64), (ALL,)))


def _of_key(evidence: FloatArray, key: Key, price: float) -> list[Hypothesis]:
    if key.ordered:
        return _runs(window_sums(evidence), key, price)
    count = len(key.names)
    least = math.log(max(count, 2))
    kept = _promising(evidence, least)
    sums = window_sums(evidence[kept])
    sets = _best_sets(sums, least, count)
    costs = [price + price_of_set(len(each), count) for each in sets]
    return [
        _scored(sums[list(each)].sum(axis=0), key.name, tuple(kept[list(each)].tolist()), cost)
        for each, cost in zip(sets, costs, strict=True)
    ]


def _promising(evidence: FloatArray, least: float) -> IntArray:
    """Values whose evidence exceeds `least` in some run of blocks, and the best few; ascending."""
    most = most_in_a_row(evidence).max(axis=1)
    count = max(int((most > least).sum()), _SINGLES)
    return np.sort(np.argsort(-most)[: min(_MOST_VALUES, count)])


def _best_sets(sums: FloatArray, least: float, count: int) -> list[tuple[int, ...]]:
    """Sets of places in `sums` (values, windows, alternatives): the best of each family."""
    gain = np.maximum(sums - least, 0).sum(axis=0) + _PRIOR
    found: set[tuple[int, ...]] = {(int(place),) for place in _best_singles(sums)}
    for family in (None, *dict.fromkeys(FAMILY)):
        columns = np.flatnonzero(np.equal(FAMILY, family)) if family else np.arange(len(FAMILY))
        window, column = np.unravel_index(gain[:, columns].argmax(), (len(gain), len(columns)))
        chosen = np.flatnonzero(sums[:, window, columns[column]] > least)
        if 0 < len(chosen) < count:
            found.add(tuple(chosen.tolist()))
    return sorted(found)


def _best_singles(sums: FloatArray) -> Sequence[int]:
    alone = log_sum_exp((sums + _PRIOR).reshape(len(sums), -1), axis=1)
    best: list[int] = np.argsort(-alone)[:_SINGLES].tolist()
    return best


def _runs(sums: FloatArray, key: Key, price: float) -> list[Hypothesis]:
    """Runs of neighboring values but not all of them."""
    count = len(key.names)
    running = np.concatenate([np.zeros_like(sums[:1]), sums.cumsum(axis=0)])
    runs = [
        (low, high)
        for low in range(count)
        for high in range(low + 1, count + 1)
        if high - low < count
    ]
    cost = price + math.log(max(len(runs), 1))
    return [
        _scored(running[high] - running[low], key.name, tuple(range(low, high)), cost)
        for low, high in runs
    ]


def _scored(sums: FloatArray, key: str, values: tuple[int, ...], price: float) -> Hypothesis:
    """The hypothesis with log evidence `sums` (windows, alternatives)."""
    weighed = sums + _PRIOR
    window, column = np.unravel_index(weighed.argmax(), weighed.shape)
    score = float(log_sum_exp(weighed)) - price
    shape = Shape(str(FAMILY[column]))
    return Hypothesis(score, key, values, int(BEGIN[window]), int(END[window]), shape)


def by_time(stream: Stream, found: Hypothesis) -> list[Hypothesis]:
    """A finding's values apart where some of them clearly began, or ended, at another time than the
    others, the most evident first; else the finding alone. All answers are taken apart by a tag.
    """
    best: list[Hypothesis] = []
    for key in _apart_by(stream, found):
        for at_end in (False, True):
            parts = _halves(stream, key, found, at_end=at_end)
            if parts and (not best or max(each.score for each in parts) > best[0].score):
                best = sorted(parts, key=lambda each: -each.score)
    if not best:
        return [found]
    each_apart = chain.from_iterable(by_time(stream, part) for part in best)
    return sorted(each_apart, key=lambda each: -each.score)


def _apart_by(stream: Stream, found: Hypothesis) -> list[Key]:
    """The keys whose values may differ in time: that of a set, or tags of all."""
    if found.key == ALL:
        tags = [key for key in stream.keys.values() if key.name.startswith(TAG)]
        few = [key for key in tags if 1 < len(key.names) <= _MOST_VALUES]
        return [key for key in few if (key.codes >= 0).all()]
    key = stream.keys[found.key]
    return [] if found.within or len(found.values) < 2 or key.ordered else [key]


def _halves(stream: Stream, key: Key, found: Hypothesis, *, at_end: bool) -> list[Hypothesis]:
    """The values that were wrong longer, and the others; none if one beginning, or end, does."""
    values = np.array(found.values or range(len(key.names)))
    sums = window_sums(stream.evidence(key)[values])
    windows = np.flatnonzero((found.begin == BEGIN) if at_end else (found.end == END))
    windows = windows[np.argsort(BEGIN[windows] - END[windows])]  # the longest first
    wrong = log_sum_exp(sums[:, windows] + SHAPE_PRIOR, axis=2)  # (values, windows)
    pairs = np.triu_indices(len(windows), _BLOCKS_APART)
    longer, shorter = (each[pairs[0] == 0] if at_end else each for each in pairs)
    apart = np.maximum(wrong[:, longer], wrong[:, shorter]).sum(axis=0)
    both = sums.sum(axis=0)[windows]  # an error of all that became larger or smaller
    changed = log_sum_exp(both[shorter] + SHAPE_PRIOR, axis=1)
    changed += log_sum_exp(both[longer] - both[shorter] + SHAPE_PRIOR, axis=1)
    price = math.log(len(longer) or 1) + len(values) * math.log(2) + (_CLEAR if at_end else _TIMES)
    if not len(longer) or apart.max() - max(wrong.sum(axis=0).max(), changed.max()) < price:
        return []
    long, short = longer[apart.argmax()], shorter[apart.argmax()]
    first = wrong[:, long] >= wrong[:, short]
    meanwhile = sums[:, windows[long]] - sums[:, windows[short]]
    form = meanwhile[first].sum(axis=0).argmax()
    if found.key == ALL and meanwhile[~first, form].sum() > -_TIMES:  # the others erred as well
        return []
    parts, cost = (first, ~first), price_of_key(len(stream.keys))
    costs = [cost + price_of_set(int(part.sum()), len(key.names)) for part in parts]
    return [
        _scored(sums[part].sum(axis=0), key.name, tuple(values[part].tolist()), cost)
        for part, cost in zip(parts, costs, strict=True)
    ]


def alike(stream: Stream, best: Hypothesis) -> list[Hypothesis]:
    """Sets of other keys with nearly the same answers: of such sets labels cannot tell one."""
    if best.key == ALL or best.within:
        return []
    when = (stream.block >= best.begin) & (stream.block < best.end)
    inside = best.members(stream) & when
    found = []
    for key in stream.keys.values():
        if key.name not in (best.key, CONFIDENCE, DRAWN):
            values = _mostly(key, inside, when)
            twin = replace(best, key=key.name, values=values)
            rows = twin.members(stream) & when
            if (rows & inside).sum() >= _ALIKE * (rows | inside).sum():
                found.append(twin)
    return found


def _mostly(key: Key, inside: BoolArray, when: BoolArray) -> tuple[int, ...]:
    """The values most of whose answers at the time are inside."""
    count = len(key.names) + 1  # the last: no value
    total = np.bincount(key.codes[when] % count, minlength=count)[:-1]
    within = np.bincount(key.codes[inside] % count, minlength=count)[:-1]
    return tuple(np.flatnonzero(2 * within > total).tolist())
