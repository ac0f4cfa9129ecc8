"""The search for groups that changed: the best one, then the best of what it leaves unexplained."""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from calibration.diagnosis.correction import corrected
from calibration.diagnosis.groups import ALL, CONFIDENCE, DRAWN, UNKNOWN
from calibration.diagnosis.scan import (
    Hypothesis,
    alike,
    by_time,
    evidence_of_all,
    group_evidence,
    narrowed,
    scan,
)
from calibration.diagnosis.stream import Stream
from calibration.diagnosis.tails import surprising
from calibration.diagnosis.windows import BLOCKS

STRONG: Final = math.log(20)
WEAK: Final = 1.5  # a guess; chance shows one in fewer than 1 of 100 calibrated streams
_OCCAM = math.log(10)  # "all" is taken unless a set is this much better
_EVIDENT = 3 * STRONG  # tails are not looked at from here on
_MOST = 8  # groups
_OF_ALL = 10 * STRONG  # an error of all beside one of a group
_SPELL = 3  # blocks in which an error of all has one form


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
    return _merged(stream, _needed(stream, found)), evidence


def most_evident(stream: Stream) -> float:
    """The log evidence of the best hypothesis."""
    return _next(stream, []).best.score


def _next(stream: Stream, found: list[Hypothesis]) -> Explanation:
    left = corrected(stream, found)
    hypotheses = scan(left)
    best = _plausible(left, hypotheses, found)
    part = narrowed(left, by_time(left, best)[0])
    if not found and best.score < _EVIDENT:
        part = _simplest([part, *(each for each in surprising(left) if each.score >= WEAK)])
    part = _known(left, _since_break(left, part))
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


def _known(stream: Stream, part: Hypothesis) -> Hypothesis:
    """The known values of a tag, if any; answers without the tag are found by themselves."""
    names = () if part.key == ALL else stream.keys[part.key].names
    known = tuple(each for each in part.values if names[each] != UNKNOWN)
    return replace(part, values=known or part.values)


def _since_break(stream: Stream, part: Hypothesis) -> Hypothesis:
    """The last stretch of an error that goes on; what was before a break is found by itself."""
    inside = stream.weighing(stream.weight * part.members(stream))
    evidence = evidence_of_all(inside)[0, part.begin : part.end]  # (blocks, alternatives)
    course = evidence[:, evidence.sum(axis=0).argmax()]
    running = np.concatenate([[0.0], course.cumsum()])
    fall = running - np.maximum.accumulate(running)
    end = int(fall.argmin())
    if part.end < BLOCKS or fall[end] > -_EVIDENT or running[-1] - running[end] < STRONG:
        return part
    return replace(part, begin=part.begin + end)


def _plausible(left: Stream, hypotheses: list[Hypothesis], found: list[Hypothesis]) -> Hypothesis:
    """The best hypothesis; "all" if that does nearly as well, or if a range is but its form."""
    best, everyone = hypotheses[0], next(each for each in hypotheses if each.key == ALL)
    if best.key == CONFIDENCE and (found or _is_form(left, everyone)):
        return next(each for each in hypotheses if each.key != CONFIDENCE)
    return everyone if not found and everyone.score > best.score - _OCCAM else best


def _is_form(stream: Stream, everyone: Hypothesis) -> bool:
    """Whether an error of all, put right by a curve for each time, leaves no range that errs."""
    times = range(0, BLOCKS, _SPELL)
    pieces = [replace(everyone, begin=at, end=min(at + _SPELL, BLOCKS)) for at in times]
    ranges = scan(corrected(stream, pieces), [CONFIDENCE])
    return everyone.score >= WEAK and all(each.score < WEAK for each in ranges if each.key != ALL)


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


def _needed(stream: Stream, found: list[Explanation]) -> list[Explanation]:
    """Those that the others together do not explain."""
    kept = list(found)
    for place, each in enumerate(found):
        others = [other.best for other in kept if other is not each]
        if not others:
            break
        members = each.best.members(stream)
        when_found = corrected(stream, [earlier.best for earlier in found[:place]])
        price = max(group_evidence(when_found, members)) - each.best.score
        if max(group_evidence(corrected(stream, others), members)) - price < STRONG:
            kept.remove(each)
    return kept


def _merged(stream: Stream, found: list[Explanation]) -> list[Explanation]:
    """One finding for groups of one key that erred alike since the same time."""
    kept: list[Explanation] = []
    for each in found:
        same = next((old for old in kept if _alike(stream, old, each)), None)
        if same is None:
            kept.append(each)
        else:
            kept[kept.index(same)] = _union(same, each)
    return kept


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
    expected = 1 / (1 + np.exp(-stream.z[rows]))
    return float(np.sign((stream.weight[rows] * (expected - stream.right[rows])).sum()))


def _union(one: Explanation, other: Explanation) -> Explanation:
    best = replace(
        one.best,
        values=tuple(sorted({*one.best.values, *other.best.values})),
        begin=min(one.best.begin, other.best.begin),
        end=max(one.best.end, other.best.end),
    )
    siblings = tuple(each for each in one.siblings if _apart(each, best))
    return Explanation(best, one.twins, siblings)
