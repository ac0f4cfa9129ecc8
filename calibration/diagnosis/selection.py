"""Were labels chosen by outcome? Worst cases of the labels that are missing, and drawn answers.

Labels of the newest answers may still be due: answers are settled from the time on at which later
ones have labels more rarely. Missing are the labels of settled answers only. If answers were drawn
at random, their labels decide, and missing are those of drawn answers.
"""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from calibration.bins import IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.facts import Cause, Deviation, Rival, RivalStatus
from calibration.diagnosis.figures import gap_of
from calibration.diagnosis.groups import DRAWN, members
from calibration.diagnosis.planner import RANDOM, labels_needed
from calibration.diagnosis.scan import group_evidence
from calibration.diagnosis.search import STRONG
from calibration.diagnosis.stream import Stream

MISSING: Final = "missing_drawn"  # labels of drawn answers that never came
DUE: Final = "due"  # labels of the newest answers, of which not all have come yet
_HARMLESS = 0.05  # share of labels that may be missing where nothing was found
_FEWEST_DRAWN = 30
_BLOCKS = 40
_MOSTLY = 0.9
_SMALLEST = 0.02
_COINCIDE = 0.4  # of the time in which labels are incomplete: an error began at its beginning


def selection(answers: Answers, deviation: Deviation | None) -> Rival:
    """Judge whether the choice of labels explains a deviation, or hides one if there is none.

    Args:
        answers: labeled or not.
        deviation: what was found; None if nothing was.
    """
    rival = _of_those_read(answers, deviation)
    read = len(answers) if answers.drawn is None else int(answers.drawn.sum())
    unknown = answers.unread > _HARMLESS * (answers.unread + read)
    if unknown and rival.status is RivalStatus.RULED_OUT:
        gap = 0.0 if deviation is None else deviation.inside.gap.estimate
        return _rival(RivalStatus.POSSIBLE, _needs(answers, np.ones(len(answers), bool), gap))
    return rival


def _of_those_read(answers: Answers, deviation: Deviation | None) -> Rival:
    missing, settled = missing_labels(answers)
    if deviation is None:
        return _hidden(answers, missing)
    if deviation.group.key == DRAWN:
        return _rival(RivalStatus.EXPLAINS_ALL)
    inside = affected(answers, deviation)
    rows = inside if answers.drawn is None else inside & answers.drawn & settled
    if answers.drawn is not None and int((rows & (answers.correct >= 0)).sum()) >= _FEWEST_DRAWN:
        return _by_drawn(answers, deviation, rows, missing & rows)
    return _by_worst_case(answers, deviation, inside, settled)


def affected(answers: Answers, deviation: Deviation) -> BoolArray:
    """Which answers (N,), labeled or not, are of the group and of the time of the error."""
    until = math.inf if deviation.until is None else deviation.until
    when = (answers.served_s >= deviation.since.likeliest) & (answers.served_s <= until)
    return members(deviation.group, answers) & when


def missing_labels(answers: Answers) -> tuple[BoolArray, BoolArray]:
    """Which answers (N,) should have a label and have none, and which are settled.

    In an audit the labels of drawn answers alone are missing.
    """
    eligible = np.ones(len(answers), bool) if answers.drawn is None else answers.drawn
    settled = np.ones(len(answers), bool)
    due = np.flatnonzero(eligible)[_settled(answers, eligible) :]
    if len(due):
        settled[due[0] :] = False
    return eligible & settled & (answers.correct < 0), settled


def _settled(answers: Answers, eligible: BoolArray) -> int:
    """Number of eligible answers, the oldest, whose labels have come if they come at all."""
    labeled = answers.correct[eligible] >= 0
    block = np.arange(len(labeled)) * _BLOCKS // max(len(labeled), 1)
    n = np.maximum(np.bincount(block, minlength=_BLOCKS), 1)
    coverage = np.bincount(block, labeled, _BLOCKS) / n
    usual = float(np.median(coverage))
    least = usual - 0.01 - 3 * np.sqrt(max(usual * (1 - usual), 0.005) / n)
    last = _BLOCKS
    while last > _BLOCKS // 2 and coverage[last - 1] < least[last - 1]:
        last -= 1
    # the last full block may hold the beginning of the fall
    last -= last < _BLOCKS
    return int(np.searchsorted(block, last))


def _rival(status: RivalStatus, needs: int = 0, kind: str = RANDOM) -> Rival:
    return Rival(Cause.SELECTION, status, needs, kind if needs else "")


def _hidden(answers: Answers, missing: BoolArray) -> Rival:
    """Where nothing was found: could the missing labels hide an error?"""
    count, labeled = int(missing.sum()), answers.correct >= 0
    decisive = labeled if answers.drawn is None else labeled & answers.drawn
    share = count / max(count + int(decisive.sum()), 1)
    if share <= _HARMLESS:
        return _rival(RivalStatus.RULED_OUT)
    kind = RANDOM if answers.drawn is None else MISSING
    needs = count if kind == MISSING else labels_needed(answers.confidence, _HARMLESS)
    return _rival(RivalStatus.POSSIBLE, needs, kind)


def _by_drawn(answers: Answers, deviation: Deviation, rows: BoolArray, missing: BoolArray) -> Rival:
    """Drawn labels of the group confirm the error, show none, or are too few to tell."""
    gap = deviation.inside.gap.estimate
    side = math.copysign(1, gap)
    labeled = rows & (answers.correct >= 0)
    known = int(labeled.sum())
    found = gap_of(answers.confidence[labeled], answers.correct[labeled] == 1, np.ones(known))
    low, high = sorted((side * found.lower, side * found.upper))
    n = known + int(missing.sum())
    p = answers.confidence[missing]
    against, favor = (p - 1, p) if side > 0 else (-p, 1 - p)
    low = (known * low + float(against.sum())) / n
    high = (known * high + float(favor.sum())) / n
    if low > 0:
        return _rival(RivalStatus.RULED_OUT)
    if high < abs(gap) / 2:
        return _rival(RivalStatus.EXPLAINS_ALL)
    if missing.sum() > known * _HARMLESS:
        return _rival(RivalStatus.POSSIBLE, int(missing.sum()), MISSING)
    needs = max(_needs(answers, rows, gap) - known, known // 2)
    return _rival(RivalStatus.POSSIBLE, needs)


def _needs(answers: Answers, rows: BoolArray, gap: float) -> int:
    """Random labels that would show the gap, or the smallest one that is worth knowing."""
    size = max(abs(gap), _SMALLEST)
    shown = labels_needed(answers.confidence[rows], math.copysign(size, gap))
    return max(shown, _FEWEST_DRAWN)


def _by_worst_case(
    answers: Answers, deviation: Deviation, inside: BoolArray, settled: BoolArray
) -> Rival:
    """Suppose that every label that is missing, or due, speaks against the error.

    The error must show in all answers of the group, or in settled ones.
    """
    gap, missing = deviation.inside.gap.estimate, inside & (answers.correct < 0)
    if not missing.any():
        return _rival(RivalStatus.RULED_OUT)
    supposed = np.where(missing, int(gap > 0), answers.correct)
    subsets = inside, inside & settled
    left = max(_left(answers, supposed, rows, over=gap > 0) for rows in subsets)
    if left >= STRONG:
        return _rival(RivalStatus.RULED_OUT)
    last = np.flatnonzero(inside & (answers.correct >= 0)).max(initial=0)
    due = missing & (~settled | (np.arange(len(answers)) > last))
    if due.sum() >= missing.sum() * _MOSTLY:
        return _rival(_of_due(answers, deviation, settled), int(due.sum()), DUE)
    return _rival(RivalStatus.POSSIBLE, _needs(answers, inside, gap))


def _of_due(answers: Answers, deviation: Deviation, settled: BoolArray) -> RivalStatus:
    """Labels that are due explain an error that began where labels began to be incomplete."""
    since, newest = deviation.since.likeliest, answers.served_s[~settled]
    if answers.drawn is not None or deviation.until is not None or not len(newest):
        return RivalStatus.POSSIBLE
    coincide = newest[0] <= since <= newest[0] + _COINCIDE * np.ptp(newest)
    return RivalStatus.EXPLAINS_ALL if coincide else RivalStatus.POSSIBLE


def _left(answers: Answers, correct: IntArray, rows: BoolArray, *, over: bool) -> float:
    """Log evidence that these labels of a group err on one side, in any window."""
    kept = np.flatnonzero(rows & (correct >= 0))
    if not len(kept):
        return 0.0
    stream = Stream.of(replace(answers, correct=correct, tags={}).rows(kept))
    return max(group_evidence(stream, np.ones(len(kept), bool), over=over))
