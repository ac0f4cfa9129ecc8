"""The words for a diagnosis, from the table in `vocabulary.py`, for terminal, page and report.

A sentence depends on nothing but the facts. `words_of` gives what a first screen shows, at most 90
words with the first three actions; the rest are lists of their own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from calibration.diagnosis.facts import (
    AnswerGroup,
    Course,
    Deviation,
    Figures,
    GroupEffect,
    Open,
    RemedyKind,
    Rival,
    RivalStatus,
    TriedRemedy,
    main_deviation,
)
from calibration.diagnosis.planner import APART, PER_PATIENT
from calibration.diagnosis.selection import DUE
from calibration.wording import counted, percent, signed_points
from monitoring.diagnosis.expected_performance import ExpectedPerformance
from monitoring.diagnosis.facts import (
    Accuracy,
    AccuracyAnswer,
    Action,
    ActionCode,
    Diagnosis,
    EarlySign,
    Hindrance,
    State,
    StateReason,
    Unchecked,
)
from monitoring.diagnosis.phrases import (
    age,
    answers_there,
    between,
    capital,
    day,
    gap_words,
    group_words,
    label_words,
    listed,
    lower_rates,
    lower_words,
    within_words,
)
from monitoring.diagnosis.vocabulary import (
    ACCURACIES,
    ACTIONS,
    CAUSES,
    CERTAINTIES,
    ESTIMATES,
    HINDRANCES,
    KINDS,
    OF_CLASSES,
    READ_AGAIN,
    REASONS,
    SHORT,
    SIGNS,
    STATUSES,
    TITLES,
    TRAINED_ON,
    Terms,
    terms,
)

ACTIONS_SHOWN: Final = 3
_RECENT_S: Final = 2 * 86_400  # labels of these days speak for now


@dataclass(frozen=True)
class Words:
    """A diagnosis in words.

    Attributes:
        short: the state in a word; `title`: in a line; `summary`: the sentences of a first screen.
        actions: what to do, the first thing first; `barred`: what cannot be done now, and why.
        causes: other causes; `accuracy`; `signs`: early signs that are raised.
        questions: what is not known, and which labels would tell.
        sure: how sure the diagnosis is.
    """

    short: str
    title: str
    summary: tuple[str, ...]
    actions: tuple[str, ...]
    barred: tuple[str, ...]
    causes: tuple[str, ...]
    accuracy: str
    signs: tuple[str, ...]
    questions: tuple[str, ...]
    sure: str


def words_of(found: Diagnosis) -> Words:
    first, said = main_deviation(found.deviations), terms(found.finding)
    title = _title(found, first, said)
    return Words(
        short=SHORT[found.state],
        title=title,
        summary=tuple(
            sentence
            for sentence in _summary(found, first, said)
            if sentence.rstrip(".").lower() not in title.lower()
        ),
        actions=tuple(action_words(each) for each in found.actions if each.available),
        barred=tuple(_barred(found)),
        causes=tuple(_causes(found)),
        accuracy=accuracy_words(found.accuracy, said),
        signs=tuple(_sign(each) for each in found.early_signs if each.raised),
        questions=tuple(_question(each) for each in found.open),
        sure=_sure(found, first),
    )


def action_words(action: Action, *, figures: bool = True) -> str:
    """Say what to do; without `figures`, whom a remedy makes worse, but not by how much.

    >>> action_words(Action(ActionCode.LABEL, labels=9, group=AnswerGroup("predicted", ("mass",))))
    'Label 9 answers of "mass".'
    >>> action_words(Action(ActionCode.LABEL, labels=9, group=AnswerGroup("tag:site", ("B",))))
    'Label 9 answers of site B.'
    """
    group = None if action.group is None else group_words(action.group)
    since = "" if action.since_s is None else f" served since {day(action.since_s)}"
    since = " whose labels are due" if action.kind == DUE else since
    said = ACTIONS[action.code].format(
        tag="" if action.tag is None else f" of {action.tag.replace('=', ' ')}",
        since=since,
        on=f", on answers{since}" if since else "",
        at=f"{f' {within_words(action.group)}' if action.group else ''}{_on(action.since_s)}",
        group=group or "all answers",
        changes=" (may change predicted classes)" if action.changes_labels else "",
        of=_of(action.group),
        labels=answers_there(action.labels, action.unlabeled),
        which=READ_AGAIN.get(action.kind, ""),
        worst=_worst(action, figures),
        version=action.version or "",
        audited=", and watch audited answers only" if action.audited_only else "",
    )
    elsewhere = "; do so where the model is served, and log its answers as a new version."
    return said.rstrip(".") + elsewhere if action.elsewhere else said


def _worst(action: Action, figures: bool) -> str:
    """Whom a remedy makes worse, or what it leaves of the largest gap."""
    worse = [each for each in action.worst if each.is_worse]
    if worse:
        said = _changes(worse) if figures else [group_words(each.group) for each in worse]
        return f"; makes {listed(said)} worse"
    if not action.worst or not figures:
        return ""
    (left,) = action.worst
    return f"; the largest gap left: {group_words(left.group)}, {signed_points(left.after)} points"


def _of(group: AnswerGroup | None) -> str:
    """Which of some answers are meant."""
    said = "all answers" if group is None else group_words(group)
    return "" if said == "all answers" else f" of {said}".replace(" of answers", "", 1)


def accuracy_words(found: Accuracy, terms: Terms = OF_CLASSES) -> str:
    """Say whether accuracy is that of the card, and what a difference is made of."""
    pattern, measured = ACCURACIES[found.answer], terms.measured
    is_first = pattern.startswith("{")
    said = pattern.format(measured=measured if is_first else measured.lower())
    if not found.n or not found.reference_n:
        return f"{said}."
    since = "" if found.since_s is None else f" since {day(found.since_s)}"
    chosen = " Labels may have been chosen by outcome." if found.is_chosen else ""
    parts = ""
    if found.answer in (AccuracyAnswer.LOWER, AccuracyAnswer.HIGHER):
        parts = (
            f" Other cases explain {gap_words(found.from_cases)}, errors "
            f"{gap_words(found.from_error)} points of it."
        )
    return (
        f"{said}: {percent(found.live)}{since} ({counted(found.n, 'label')}), "
        f"{percent(found.reference)} there; difference {between(found.difference)} "
        f"points.{parts}{chosen}"
    )


def estimate_words(found: ExpectedPerformance, terms: Terms = OF_CLASSES) -> str:
    """Say what confidence expects of accuracy, and whether labels agree."""
    said, alone = ESTIMATES[found.status], found.from_confidence
    if alone is None:
        return said
    accuracy = alone.accuracy
    return (
        f"By its own {terms.claim} {terms.holds} in {percent(accuracy.value)} of "
        f"{counted(alone.answers, 'answer')} (95 % interval {percent(accuracy.lower)} to "
        f"{percent(accuracy.upper)}). {said}"
    )


def _title(found: Diagnosis, first: Deviation | None, terms: Terms) -> str:
    state, is_over = found.state, first is None or first.until is not None
    if state is State.ALARM and is_over:
        return f"Alarm: {_reason(found, found.reasons[1])}"
    if state is State.LOOK and is_over:
        return f"Look: {_reason(found, found.reasons[0])}"
    who = "" if first is None else _who(found, first, terms)
    if first is not None and any(_may_be_reversed(each) for each in found.rivals):
        return f"{SHORT[state].capitalize()}: {who}, of which labels that are due will tell more"
    if state is State.LOOK and found.reasons[0] is StateReason.EXPLAINED:
        cause = next(each for each in found.rivals if each.status is RivalStatus.EXPLAINS_ALL)
        said = _cause(cause).rstrip(".")
        return f"Look: {who}: {said[:1].lower()}{said[1:]}"
    error = "" if first is None else _error(first.inside, terms)
    reason = _reason(found, found.reasons[0]) if found.reasons else ""
    return TITLES[state].format(who=who, error=error, reason=reason, fine=terms.fine)


def _may_be_reversed(rival: Rival) -> bool:
    """Whether labels that are still to come may show the opposite."""
    return rival.needs_kind == DUE and rival.status is not RivalStatus.RULED_OUT


def _who(found: Diagnosis, first: Deviation, terms: Terms) -> str:
    """The main group, and how many others err alike, at other times or of other keys."""
    also = [
        each
        for each in found.deviations
        if each is not first
        and (each.until is None) == (first.until is None)
        and (each.inside.gap.estimate > 0) == (first.inside.gap.estimate > 0)
    ]
    more = f" and {counted(len(also), 'more group')}" if also else ""
    return f"{group_words(first.group, terms)}{more}"


def _error(inside: Figures, terms: Terms) -> str:
    return terms.too_high if inside.gap.estimate > 0 else terms.too_low


def _summary(found: Diagnosis, first: Deviation | None, terms: Terms) -> Iterator[str]:
    """The sentences of a first screen, the most important first."""
    is_over = first is None or first.until is not None
    if first is not None and (is_over or found.state in (State.ALARM, State.LOOK, State.HEALED)):
        yield _figures_since(first, terms)
        if first.rest is not None and first.rest.n:
            where = "Before" if first.group.key == "all" else "Elsewhere"
            yield f"{where}, the gap was {gap_words(first.rest.gap)} points."
    elif found.basis.labels:
        labels, gap = counted(found.basis.read, "label"), gap_words(found.bounds)
        yield f"In {labels}, {terms.gap} is {gap} points."
    if is_over:
        yield from lower_words(found.operating_points, found.finding)
    holding = [
        each
        for each in found.rivals
        if each.status in (RivalStatus.EXPLAINS_ALL, RivalStatus.EXPLAINS_PART)
    ]
    yield from (_cause(each) for each in holding)
    if found.state is not State.UNKNOWN and StateReason.SELECTION in found.reasons:
        yield f"{capital(_reason(found, StateReason.SELECTION))}."
    if found.basis.labels and found.generated_s > found.basis.labels_until_s + _RECENT_S:
        yield f"This speaks for answers until {day(found.basis.labels_until_s)}."


def _figures_since(first: Deviation, terms: Terms) -> str:
    inside, since = first.inside, first.since
    if since.date is None:
        when = "From the first label on"
    else:
        when = f"Since {day(since.date)}{_days(since.earliest, since.latest)}"
    if first.course is Course.GRADUAL:
        when += ", gradually"
    if first.until is not None:
        when += f", until {day(first.until)}"
    figures = terms.figures.format(
        confidence=percent(inside.confidence), share=percent(inside.accuracy.estimate)
    )
    return f"{when}: {figures} ({counted(inside.n, 'label')}; gap {gap_words(inside.gap)} points)."


def _days(earliest: float | None, latest: float) -> str:
    if earliest is None:
        return f" ({day(latest)} at the latest, perhaps from the first label on)"
    first, last = day(earliest), day(latest)
    same_year = first[-4:] == last[-4:]
    shown = (day(each, year=not same_year) for each in (earliest, latest))
    return "" if first == last else f" ({' to '.join(shown)})"


def _reason(found: Diagnosis, reason: StateReason) -> str:
    basis = found.basis
    newest = max(found.generated_s, basis.last_served_s)
    return REASONS[reason].format(
        rates=lower_rates(found.operating_points, found.finding),
        answers_age=age(newest - basis.last_served_s),
        labels_age=age(newest - basis.labels_until_s),
        unchecked=_unchecked(found.unchecked),
        missing=percent(1 - basis.coverage),
        audit_missing=percent(basis.audit_missing),
    )


def _unchecked(parts: tuple[Unchecked, ...]) -> str:
    return listed([group_words(each.group) for each in parts])


def _barred(found: Diagnosis) -> Iterator[str]:
    for each in found.actions:
        if each.hindrance is not None and each.hindrance is not Hindrance.FIRST:
            why = HINDRANCES[each.hindrance].format(harmed=_harmed(found, each))
            said = action_words(replace(each, worst=())).rstrip(".")  # the reason has whom it harms
            yield f"Not now: {said}. Reason: {why}."


def _harmed(found: Diagnosis, action: Action) -> str:
    kinds = {
        ActionCode.RECALIBRATE: RemedyKind.ALL,
        ActionCode.RECALIBRATE_GROUP: RemedyKind.GROUP,
        ActionCode.ADJUST_CASE_MIX: RemedyKind.CASE_MIX,
    }
    kind, group = kinds.get(action.code), action.group
    remedy = next(
        (each for each in found.remedies if each.kind is kind and group in (None, each.group)), None
    )
    return "others" if remedy is None else listed(harmed_by(remedy))


def harmed_by(remedy: TriedRemedy) -> list[str]:
    """The groups that a remedy makes worse, with their gaps before and after."""
    return _changes(each for each in remedy.effects if each.harms)


def _changes(effects: Iterable[GroupEffect]) -> list[str]:
    return [
        f"{group_words(each.group)} "
        f"({signed_points(each.before)} → {signed_points(each.after)} points)"
        for each in effects
    ]


def _causes(found: Diagnosis) -> Iterator[str]:
    for rival in found.rivals:
        if rival.status is not RivalStatus.RULED_OUT:
            yield _cause(rival)
    yield from label_words(found)


def _cause(rival: Rival) -> str:
    who = "" if rival.group is None else group_words(rival.group)
    shares = (percent(each or 0) for each in (rival.doubtful, rival.doubtful_elsewhere))
    words = dict(zip(("doubtful", "rest"), shares, strict=True))
    named = CAUSES[rival.cause].format(who=who, **words)
    cause = KINDS[DUE] if rival.needs_kind == DUE else named
    said = STATUSES[rival.status].format(cause=cause)
    if rival.status is not RivalStatus.POSSIBLE or not rival.needs:
        return said
    return f"{said} {rival.needs:,} {KINDS.get(rival.needs_kind, rival.needs_kind)} would tell."


def _sign(sign: EarlySign) -> str:
    if sign.name == "training_images":
        return TRAINED_ON.format(share=percent(sign.value))
    since = "" if sign.since_s is None else f", noticed on {day(sign.since_s)}"
    return f"Without labels: {SIGNS[sign.name]} changed{since}."


def _question(each: Open) -> str:
    who, labels = capital(group_words(each.group)), counted(each.labels, "more label")
    labels += " of different patients" if each.kind == PER_PATIENT else ""
    if each.kind == APART:
        return f"{who}: {labels} of answers outside the other group would tell the two apart."
    return f"{who}: {labels} would show a gap of {100 * each.gap:.0f} points."


def _sure(found: Diagnosis, first: Deviation | None) -> str:
    others = "" if first is None else listed([group_words(each) for each in first.others])
    others = f"it may be {others}" if others else "another group is nearly as likely"
    return CERTAINTIES[found.certainty].format(others=others)


def _on(at_s: float | None) -> str:
    return "" if at_s is None else f" around {day(at_s)}"
