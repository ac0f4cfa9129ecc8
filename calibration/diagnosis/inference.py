"""The inference: from served answers to what changed, since when, and what else may explain it."""

import math
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.case_mix import Mix, changed_input, find_mix
from calibration.diagnosis.correction import corrected
from calibration.diagnosis.facts import (
    AnswerGroup,
    Cause,
    Deviation,
    Figures,
    Inference,
    Rival,
    RivalStatus,
    TriedRemedy,
)
from calibration.diagnosis.figures import figures_of, gap_of
from calibration.diagnosis.groups import ALL, members, tagged
from calibration.diagnosis.onset import DatedOnset, onset
from calibration.diagnosis.outcome import Outcome, corrected_labels, outcome_of, patients
from calibration.diagnosis.planner import find_questions, open_questions, telling_apart
from calibration.diagnosis.remedies import FEWEST_ROWS, Treated, remedies_of
from calibration.diagnosis.search import STRONG, Explanation
from calibration.diagnosis.selection import affected as affected_by
from calibration.diagnosis.selection import missing_labels, selection
from calibration.diagnosis.sources import coding, followed, label_sources, noise
from calibration.measures.estimates import IntervalEstimate


@dataclass(frozen=True)
class _Course:
    """An outcome with the date of each finding. `served`: the labeled answers as served."""

    served: Answers
    outcome: Outcome
    dates: list[DatedOnset]


def infer(answers: Answers) -> Inference:
    """Diagnose answers.

    Where answers that were drawn at random contradict the others, the drawn ones alone count.
    Where a changed case mix explains a part, the rest is found under the new shares.

    Args:
        answers: labeled or not, oldest first; at most about 100,000.
    """
    said = _inferred(answers, answers.labeled())
    chosen = _rival(said, Cause.SELECTION)
    if answers.drawn is None or not said.deviations:
        return said
    if chosen.status != RivalStatus.EXPLAINS_ALL:
        return said
    drawn = answers.rows(np.flatnonzero(answers.drawn))
    again = _inferred(drawn, drawn.labeled())
    rivals = [each for each in again.rivals if each.cause != Cause.SELECTION]
    part = RivalStatus.EXPLAINS_PART if again.deviations else RivalStatus.EXPLAINS_ALL
    rivals.append(replace(chosen, status=part))
    return replace(again, rivals=tuple(rivals))


def _inferred(answers: Answers, labeled: Answers) -> Inference:
    outcome = outcome_of(labeled)
    rival, mix, granted = find_mix(outcome) if outcome.found else (None, None, outcome)
    settled = missing_labels(answers)[1][answers.correct >= 0]
    course = _course(labeled, granted, settled)
    deviations = _deviations(course)
    questions = find_questions(answers, correlation=outcome.correlation)
    apart = chain.from_iterable(telling_apart(answers, each) for each in deviations)
    return Inference(
        len(labeled),
        outcome.correlation,
        float(outcome.stream.weight.mean()) if len(labeled) else 1.0,
        _bounds(course),
        deviations,
        _rivals(answers, outcome, course, deviations, rival),
        _remedies(course, deviations, mix),
        (*apart, *open_questions(questions)),
        questions,
        can_try=answers.probabilities is not None,
    )


def _course(labeled: Answers, outcome: Outcome, settled: BoolArray) -> _Course:
    """Those that go on first, then the most evident first."""
    dates = _dates(outcome, settled)
    order = sorted(range(len(dates)), key=lambda each: dates[each].until is not None)
    found = [outcome.found[each] for each in order]
    return _Course(labeled, replace(outcome, found=found), [dates[each] for each in order])


def _rival(said: Inference, cause: Cause) -> Rival:
    return next(each for each in said.rivals if each.cause == cause)


def _rivals(
    answers: Answers,
    outcome: Outcome,
    course: _Course,
    deviations: tuple[Deviation, ...],
    mix: Rival | None,
) -> tuple[Rival, ...]:
    first = deviations[0] if deviations else None
    ongoing = first if first and first.until is None else None  # no label shows what is over
    found = [selection(answers, ongoing), patients(outcome)]
    if mix:
        found.append(mix)
    if first is not None:
        affected = _affected(course, 0)
        when = affected_by(course.served, replace(first, group=AnswerGroup(ALL)))
        found.append(noise(course.outcome, affected, when))
        weight = course.outcome.stream.weight
        of_input = changed_input(answers, first, course.served, weight, affected)
        of_labels = label_sources(course.served, weight, first, affected)
        of_all = coding(course.served, affected), followed(course.outcome, first, affected)
        found += filter(None, [of_input, of_labels, *of_all])
    return (*found, *filter(None, [corrected_labels(course.served, outcome)]))


def _affected(course: _Course, number: int) -> BoolArray:
    rows = np.zeros(len(course.served), bool)
    rows[course.dates[number].affected] = True
    return rows


def _bounds(course: _Course) -> IntervalEstimate:
    served = course.served
    if not len(served):
        return IntervalEstimate(math.nan, -1.0, 1.0)
    return gap_of(served.confidence, served.correct == 1, course.outcome.stream.weight)


def _dates(outcome: Outcome, settled: BoolArray) -> list[DatedOnset]:
    """Date each finding, the errors of the others put right."""
    best = [each.best for each in outcome.found]
    served_s = outcome.labeled.served_s
    return [
        onset(
            corrected(outcome.stream, [x for x in best if x is not each]), each, served_s, settled
        )
        for each in best
    ]


def _deviations(course: _Course) -> tuple[Deviation, ...]:
    affected = np.zeros(len(course.served), dtype=bool)
    for number in range(len(course.dates)):
        affected |= _affected(course, number)
    pairs = zip(course.outcome.found, course.dates, strict=True)
    return tuple(_deviation(course, each, date, affected) for each, date in pairs)


def _deviation(
    course: _Course, finding: Explanation, date: DatedOnset, affected: BoolArray
) -> Deviation:
    best, stream = finding.best, course.outcome.stream
    since = course.served.served_s >= date.since.likeliest
    others = ~since if best.key == ALL else since & ~best.members(stream) & ~affected
    return Deviation(
        best.group(stream),
        best.score,
        date.since,
        date.until,
        date.course,
        _figures(course, date.affected),
        _figures(course, np.flatnonzero(others)) if others.any() else None,
        tuple(each.group(stream) for each in (*finding.twins, *finding.siblings)),
        bool(finding.siblings) or best.score < STRONG,
    )


def _figures(course: _Course, rows: IntArray) -> Figures:
    served = course.served
    weight: FloatArray = course.outcome.stream.weight[rows]
    return figures_of(served.confidence[rows], served.correct[rows] == 1, weight)


def _remedies(
    course: _Course, deviations: tuple[Deviation, ...], mix: Mix | None
) -> tuple[TriedRemedy, ...]:
    """For the errors that go on; nothing is to be remedied where all have healed."""
    going_on = sorted((each for each in deviations if each.until is None), key=_start)
    if not going_on:
        return ()
    served_s, whole = course.served.served_s, AnswerGroup(ALL)
    wrong = np.any([members(each.group, course.served) for each in going_on], axis=0)
    is_everyone = bool(wrong[served_s >= _start(going_on[-1])].all())
    first = going_on[-1 if is_everyone else 0]
    newest = _start(first) if is_everyone else 0.0
    groups = [_together(course.served, alike, newest) for alike in _alike(going_on)]
    erred = tuple(each.group for each in going_on)
    since_s = first.since.date
    treated = [Treated(whole, served_s >= (since_s or 0), since_s, erred), *groups]
    weight = course.outcome.stream.weight
    return remedies_of(course.served, weight, treated, mix)


def _start(each: Deviation) -> float:
    return each.since.likeliest


def _alike(deviations: list[Deviation]) -> list[list[Deviation]]:
    """Those of groups, together where one calibrator can cure them."""
    found: list[list[Deviation]] = []
    for each in deviations:
        if tagged(each.group):
            same = next((alike for alike in found if _are_alike(alike[0], each)), None)
            found.append([each]) if same is None else same.append(each)
    return found


def _are_alike(one: Deviation, other: Deviation) -> bool:
    """Whether two groups of one key have gaps of one sign, neither over twice the other."""
    gap, of_other = one.inside.gap.estimate, other.inside.gap.estimate
    is_part = one.group.within is not None or other.group.within is not None
    is_near = 2 * gap * of_other >= max(gap**2, of_other**2)
    return one.group.key == other.group.key and not is_part and is_near


def _together(served: Answers, alike: list[Deviation], newest: float) -> Treated:
    """Groups since the last of them went wrong; without the last while it has too few labels. Since
    the `newest` error, if with it everybody errs, and it leaves enough.
    """
    *earlier, last = alike
    parts = [part for each in alike if (part := tagged(each.group))]
    group = replace(parts[0], values=tuple(sorted({v for part in parts for v in part.values})))
    inside, since_s = members(group, served), last.since.date
    rows = inside & (served.served_s >= (since_s or 0))
    if earlier and rows.sum() < FEWEST_ROWS:
        return _together(served, earlier, newest)
    lately = rows & (served.served_s >= newest)
    if newest > _start(last) and lately.sum() >= FEWEST_ROWS:
        rows, since_s = lately, newest
    return Treated(group, rows, since_s, tuple(each.group for each in alike))
