"""What to do, the first thing first, and what cannot be done now, and why."""

import math
from collections.abc import Iterator
from dataclasses import replace

from calibration.diagnosis.facts import (
    AnswerGroup,
    Cause,
    Deviation,
    GroupEffect,
    RemedyKind,
    Rival,
    RivalStatus,
    TriedRemedy,
)
from calibration.diagnosis.groups import ALL, tagged
from calibration.diagnosis.planner import RANDOM
from calibration.diagnosis.remedies import FEWEST_NAMED
from calibration.diagnosis.search import STRONG
from calibration.diagnosis.selection import DUE, MISSING
from monitoring.diagnosis.facts import (
    Accuracy,
    AccuracyAnswer,
    Action,
    ActionCode,
    Alarm,
    Hindrance,
    State,
    StateReason,
)
from monitoring.diagnosis.state import FEW_LABELS, Findings

_HOLDING = {  # rivals that must be settled before a remedy, and what settles them
    Cause.PATIENTS: ActionCode.SEND_PATIENTS,
    Cause.SELECTION: ActionCode.AUDIT,
    Cause.PROXY: ActionCode.SECOND_READINGS,
    Cause.NOISE: ActionCode.SECOND_READINGS,
    Cause.CODING: ActionCode.SECOND_READINGS,
    Cause.FOLLOWED: ActionCode.SECOND_READINGS,
}
_CURES = {
    RemedyKind.ALL: ActionCode.RECALIBRATE,
    RemedyKind.GROUP: ActionCode.RECALIBRATE_GROUP,
    RemedyKind.CASE_MIX: ActionCode.ADJUST_CASE_MIX,
}
_AUDIT_LABELS = 300  # show a gap to within five points


def plan(
    found: Findings,
    state: State,
    reasons: tuple[StateReason, ...],
    accuracy: Accuracy,
    *,
    version: int,
    earlier: int | None,
    published: int | None,
    served_elsewhere: bool,
) -> tuple[Action, ...]:
    """Return the actions.

    `earlier`: a version that could be promoted again; `published`: a recalibration since the alarm.
    """
    if state is State.HEALED:
        is_chosen = found.explains_all(Cause.SELECTION)
        return tuple(_acknowledge(found.alarms, audited_only=is_chosen))
    if found.ongoing:
        first = list(_settle(found))
        cures = list(_cures(found, version=version, served_elsewhere=served_elsewhere))
        if published is not None:
            cures = [Action(ActionCode.PROMOTE, version=published)]
        if first or found.explains_all(Cause.INPUT):
            cures = [_after_first(each) for each in cures]
        usable = [each for each in cures if each.available][:1]  # the one that fits best
        barred = [each for each in cures if not each.available]
        steps = [*first, *usable, *_look(found), *_roll_back(accuracy, earlier)]
        return (*steps, *barred, *_acknowledge(found.alarms, later=True))
    if found.alarms:
        steps = [*_settle(found)] or [Action(ActionCode.FIND_CAUSE), _more_labels(found, None)]
        return (*steps, *_acknowledge(found.alarms, later=True))
    patients = [Action(ActionCode.SEND_PATIENTS)] if found.suspects_patients else []
    return (*_look(found), *_label(found, reasons), *patients)


def _settle(found: Findings) -> Iterator[Action]:
    """What must be known before anything is changed."""
    first = found.ongoing[0] if found.ongoing else None
    asked = set()
    for cause, code in _HOLDING.items():
        rival = found.rivals.get(cause)
        if rival is not None and code not in asked and _holds(rival, found):
            asked.add(code)
            is_begun = rival.needs_kind == MISSING
            yield _complete_audit(found) if is_begun else _tells(rival, code, first)
            if rival.needs_kind == DUE:  # they may tell of all other causes
                return
    if first is not None and first.score < STRONG:
        yield _more_labels(found, first.group)


def _tells(rival: Rival, code: ActionCode, first: Deviation | None) -> Action:
    """What tells whether a rival explains the first deviation; corrections, if that is known."""
    group, since_s = (None, None) if first is None else (first.group, first.since.date)
    if rival.needs_kind == DUE:
        code = ActionCode.LABEL
    if code is ActionCode.SECOND_READINGS and not rival.needs:
        code = ActionCode.CORRECT_LABELS
    if code in (ActionCode.AUDIT, ActionCode.LABEL):
        since_s = None  # new answers, or those whose labels are due
    who, kind = rival.group or group, rival.needs_kind
    return Action(code, group=who, labels=rival.needs, kind=kind, since_s=since_s)


def _holds(rival: Rival, found: Findings) -> bool:
    """Whether a rival must be settled first.

    Noise and patients that are only possible beside an error hold nothing back.
    """
    if rival.status is RivalStatus.EXPLAINS_ALL:
        return rival.cause is not Cause.PATIENTS
    if rival.cause is Cause.PATIENTS:
        return found.suspects_patients
    return rival.status is RivalStatus.POSSIBLE and rival.cause is not Cause.NOISE


def _cures(found: Findings, *, version: int, served_elsewhere: bool) -> Iterator[Action]:
    """The remedy that fits first, then the others; a changed case mix has one alone."""
    first, fitting = found.ongoing[0], _fitting(found)
    tried = {each.kind: each for each in found.inference.remedies if _treats(each, first.group)}
    others = () if fitting is RemedyKind.CASE_MIX else (each for each in tried if each != fitting)
    untried = TriedRemedy(
        fitting, tagged(first.group) or first.group, (), first.inside.n, first.since.date
    )
    for kind in (fitting, *others):
        remedy = tried.get(kind, untried)
        hindrance = _barred(remedy, found)
        yield Action(
            _CURES[kind],
            available=hindrance is None,
            hindrance=hindrance,
            version=version,
            group=remedy.group if kind is RemedyKind.GROUP else None,
            labels=remedy.labels,
            since_s=remedy.since_s,
            elsewhere=served_elsewhere,
            changes_labels=remedy.changes_labels,
            worst=_worst(remedy),
        )


def _worst(remedy: TriedRemedy) -> tuple[GroupEffect, ...]:
    worse = [each for each in remedy.effects if each.is_worse and each.n >= FEWEST_NAMED]
    most = sorted(remedy.effects, key=lambda each: -abs(each.after))[:1]
    return tuple(worse or most)


def _treats(remedy: TriedRemedy, group: AnswerGroup) -> bool:
    """Whether it is for all, or for a group and perhaps others that erred alike."""
    if remedy.kind is not RemedyKind.GROUP:
        return remedy.group.key == ALL
    part = tagged(group)
    if part is None or part.key != remedy.group.key:
        return False
    return {*part.values} <= {*remedy.group.values}


def _fitting(found: Findings) -> RemedyKind:
    """The remedy for exactly the affected: of all, if some have erred since nobody else was right.

    A changed case mix of one group is cured in that group.
    """
    mixes = [each for each in found.inference.remedies if each.kind is RemedyKind.CASE_MIX]
    if found.explains_all(Cause.CASE_MIX) and all(each.group.key == ALL for each in mixes):
        return RemedyKind.CASE_MIX
    nobody_else = any(each.rest is None for each in found.ongoing)
    is_part = tagged(found.ongoing[0].group) and not nobody_else
    return RemedyKind.GROUP if is_part else RemedyKind.ALL


def _barred(remedy: TriedRemedy, found: Findings) -> Hindrance | None:
    first = found.ongoing[0]
    if found.is_trained_on:
        return Hindrance.TRAINED_ON
    if remedy.harms:
        return Hindrance.HARMS_OTHERS
    if not found.inference.can_try:
        return Hindrance.UNTRIED
    if not remedy.effects:
        return Hindrance.FEW_LABELS
    own = _effect_on(remedy, first.group) or _effect_on(remedy, remedy.group)
    is_better = own is None or abs(own.after) < abs(own.before) / 2
    return None if is_better else Hindrance.NO_GAIN


def _effect_on(remedy: TriedRemedy, group: AnswerGroup) -> GroupEffect | None:
    return next((each for each in remedy.effects if each.group == group), None)


def _after_first(action: Action) -> Action:
    """The action once the first step is done; one that harms is not to be done after it either."""
    if action.hindrance is Hindrance.HARMS_OTHERS:
        return action
    return replace(action, available=False, hindrance=Hindrance.FIRST)


def _look(found: Findings) -> Iterator[Action]:
    """Find the cause wherever something changed, or a rate fell, and name the group."""
    for each in found.ongoing:
        yield Action(
            ActionCode.FIND_CAUSE,
            group=None if each.group.key == ALL else each.group,
            since_s=each.since.date,
        )
    if found.lower and not found.ongoing:
        first = found.lower[0]
        group = None if first.group.key == ALL else first.group
        yield Action(ActionCode.FIND_CAUSE, group=group, since_s=first.since_s)


def _roll_back(accuracy: Accuracy, earlier: int | None) -> Iterator[Action]:
    """Harder cases are no reason: only accuracy that fell by an error of this version, beside an
    error that was found, since a look at accuracy alone errs in 1 of 40.
    """
    by_error = accuracy.from_error.upper < 0
    is_lower = accuracy.answer is AccuracyAnswer.LOWER and not accuracy.is_chosen
    if is_lower and by_error and earlier is not None:
        yield Action(ActionCode.ROLL_BACK, version=earlier)


def _acknowledge(
    alarms: tuple[Alarm, ...], *, later: bool = False, audited_only: bool = False
) -> Iterator[Action]:
    for each in alarms:
        yield Action(
            ActionCode.ACKNOWLEDGE,
            available=not later,
            hindrance=Hindrance.FIRST if later else None,
            alarm=each.feedback_id,
            tag=each.tag,
            audited_only=audited_only,
        )


def _label(found: Findings, reasons: tuple[StateReason, ...]) -> Iterator[Action]:
    """Which labels would tell what is not known, of kinds that have none first; none come without
    answers.
    """
    basis = found.basis
    is_used = StateReason.NO_ANSWERS not in reasons
    if not is_used:
        yield Action(ActionCode.CHECK_CALLERS)
    if is_used and (StateReason.LABELS_OLD in reasons or StateReason.INPUT_CHANGED in reasons):
        until = basis.labels_until_s
        since_s = until if math.isfinite(until) else None
        yield Action(ActionCode.LABEL, labels=_needed(found, None), since_s=since_s)
    elif is_used and (StateReason.NO_LABELS in reasons or StateReason.FEW_LABELS in reasons):
        wanted = max(_needed(found, None), FEW_LABELS - basis.labels)
        yield replace(_more_labels(found, None), labels=wanted, kind=RANDOM)
    elif StateReason.PROXY_ONLY in reasons:
        yield _audit(found)
    for part in found.unchecked if StateReason.UNLABELED_PART in reasons else ():
        yield _more_labels(found, part.group)
    if StateReason.SELECTION in reasons and StateReason.LABELS_OLD not in reasons:
        yield _audit(found)
    if StateReason.AUDIT_INCOMPLETE in reasons:
        yield _complete_audit(found)


def _more_labels(found: Findings, group: AnswerGroup | None) -> Action:
    return Action(
        ActionCode.LABEL,
        group=group,
        labels=_needed(found, group),
        unlabeled=_unlabeled(found, group),
    )


def _audit(found: Findings) -> Action:
    return Action(ActionCode.AUDIT, labels=_needed(found, None), kind=RANDOM)


def _unlabeled(found: Findings, group: AnswerGroup | None) -> int | None:
    """How many answers have no label; unknown of a group."""
    is_part = group is not None and group.key != ALL
    return None if is_part else found.basis.served - found.basis.labels


def _complete_audit(found: Findings) -> Action:
    missing = found.basis.audit_missing
    left = math.ceil(found.basis.audited * missing / (1 - missing)) if missing < 1 else 0
    return Action(ActionCode.COMPLETE_AUDIT, labels=left, kind=MISSING)


def _needed(found: Findings, group: AnswerGroup | None) -> int:
    """Labels until a gap would be known, from the planner where it has the group."""
    planned = [
        each.labels
        for each in found.inference.open
        if each.group == group or (group is None and each.group.key == ALL)
    ]
    return min(planned) if planned else _AUDIT_LABELS
