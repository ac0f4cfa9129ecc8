"""What to do, the first thing first, and what cannot be done now, and why."""

import math
from collections.abc import Iterator

from calibration.diagnosis.facts import (
    Cause,
    Deviation,
    Group,
    Remedy,
    RemedyKind,
    Rival,
    RivalStatus,
)
from monitoring.diagnosis.facts import (
    Accuracy,
    AccuracyAnswer,
    Action,
    ActionCode,
    Alarm,
    Hindrance,
    Reason,
    State,
)
from monitoring.diagnosis.state import FEW_LABELS, Findings

_HOLDING = {  # rivals that must be settled before a remedy, and what settles them
    Cause.PATIENTS: ActionCode.SEND_PATIENTS,
    Cause.SELECTION: ActionCode.AUDIT,
    Cause.NOISE: ActionCode.SECOND_READINGS,
    Cause.PROXY: ActionCode.AUDIT,
}
_CURES = {
    RemedyKind.ALL: ActionCode.RECALIBRATE,
    RemedyKind.GROUP: ActionCode.RECALIBRATE_GROUP,
    RemedyKind.CASE_MIX: ActionCode.ADJUST_CASE_MIX,
}
_AUDIT_LABELS = 300  # show a gap to within five points
_ALL = "all"
_RANDOM = "random"


def plan(
    found: Findings,
    state: State,
    reasons: tuple[Reason, ...],
    accuracy: Accuracy,
    *,
    version: int,
    earlier: int | None,
    served_elsewhere: bool,
) -> tuple[Action, ...]:
    """Return the actions. `earlier`: a version that could be promoted again."""
    if state is State.HEALED:
        return tuple(_acknowledge(found.alarms))
    if found.ongoing:
        first = list(_settle(found))
        cures = list(_cures(found, version=version, served_elsewhere=served_elsewhere))
        if first:
            cures = [_hindered(each, Hindrance.FIRST) for each in cures]
        usable = [each for each in cures if each.available]
        barred = [each for each in cures if not each.available]
        steps = [*first, *usable, *_look(found), *_roll_back(accuracy, earlier)]
        return (*steps, *barred, *_acknowledge(found.alarms, later=True))
    if state is State.ALARM:
        return (*_settle(found), *_acknowledge(found.alarms, later=True))
    return tuple(_label(found, reasons)) + tuple(_roll_back(accuracy, earlier))


def _settle(found: Findings) -> Iterator[Action]:
    """What must be known before anything is changed."""
    for cause, code in _HOLDING.items():
        rival = found.rivals.get(cause)
        if rival is not None and _holds(rival):
            group = found.ongoing[0].group if found.ongoing else None
            yield Action(code, group=group, labels=rival.needs, kind=rival.needs_kind)


def _holds(rival: Rival) -> bool:
    """Whether a rival must be settled first. Noise that is only possible holds nothing back."""
    if rival.status is RivalStatus.EXPLAINS_ALL:
        return True
    return rival.status is RivalStatus.POSSIBLE and rival.cause is not Cause.NOISE


def _cures(found: Findings, *, version: int, served_elsewhere: bool) -> Iterator[Action]:
    """The remedy that fits first, then the others that were tried."""
    first = found.ongoing[0]
    tried = {each.kind: each for each in found.inference.remedies}
    for kind in (_fitting(found), *(each for each in tried if each is not _fitting(found))):
        hindrance = Hindrance.SERVED_ELSEWHERE if served_elsewhere else None
        yield Action(
            _CURES[kind],
            available=hindrance is None and (barred := _barred(tried.get(kind), first)) is None,
            hindrance=hindrance or barred,
            version=version,
            group=first.group if kind is RemedyKind.GROUP else None,
            labels=first.inside.n,
            since_s=None if first.since.earliest is None else first.since.likeliest,
        )


def _fitting(found: Findings) -> RemedyKind:
    """The remedy for exactly the affected."""
    if found.explains_all(Cause.CASE_MIX):
        return RemedyKind.CASE_MIX
    group = found.ongoing[0].group
    is_tag = any(each.key.startswith("tag:") for each in (group, group.within) if each is not None)
    return RemedyKind.GROUP if is_tag else RemedyKind.ALL


def _barred(remedy: Remedy | None, first: Deviation) -> Hindrance | None:
    if remedy is None:
        return None
    if remedy.harms:
        return Hindrance.HARMS_OTHERS
    own = next((each for each in remedy.effects if each.group == first.group), None)
    is_better = own is None or abs(own.after) < abs(own.before)
    return None if is_better else Hindrance.NO_GAIN


def _hindered(action: Action, hindrance: Hindrance) -> Action:
    if not action.available:
        return action
    return Action(**{**vars(action), "available": False, "hindrance": hindrance})


def _look(found: Findings) -> Iterator[Action]:
    """Find the cause wherever something changed, and name the group if others may be meant."""
    for each in found.ongoing:
        if each.is_weak:
            yield Action(ActionCode.LABEL, group=each.group, labels=FEW_LABELS)
        yield Action(
            ActionCode.FIND_CAUSE,
            group=None if each.group.key == _ALL else each.group,
            since_s=None if each.since.earliest is None else each.since.likeliest,
        )


def _roll_back(accuracy: Accuracy, earlier: int | None) -> Iterator[Action]:
    """Harder cases are no reason: only accuracy that fell by an error of this version."""
    by_error = accuracy.from_error.upper < 0
    is_lower = accuracy.answer is AccuracyAnswer.LOWER and not accuracy.is_chosen
    if is_lower and by_error and earlier is not None:
        yield Action(ActionCode.ROLL_BACK, version=earlier)


def _acknowledge(alarms: tuple[Alarm, ...], *, later: bool = False) -> Iterator[Action]:
    for each in alarms:
        yield Action(
            ActionCode.ACKNOWLEDGE,
            available=not later,
            hindrance=Hindrance.FIRST if later else None,
            alarm=each.feedback_id,
            tag=each.tag,
        )


def _label(found: Findings, reasons: tuple[Reason, ...]) -> Iterator[Action]:
    """Which labels would tell what is not known."""
    basis = found.basis
    is_used = Reason.NO_ANSWERS not in reasons
    if is_used and (Reason.LABELS_OLD in reasons or Reason.INPUT_CHANGED in reasons):
        until = basis.labels_until_s
        since_s = until if math.isfinite(until) else None
        yield Action(ActionCode.LABEL, labels=_needed(found, None), since_s=since_s)
    elif is_used and (Reason.NO_LABELS in reasons or Reason.FEW_LABELS in reasons):
        wanted = max(_needed(found, None), FEW_LABELS - basis.labels)
        yield Action(ActionCode.LABEL, labels=wanted, kind=_RANDOM)
    elif Reason.SELECTION in reasons:
        yield Action(ActionCode.AUDIT, labels=_needed(found, None), kind=_RANDOM)
    if Reason.UNLABELED_PART in reasons:
        for part in found.unchecked:
            yield Action(ActionCode.LABEL, group=part.group, labels=_needed(found, part.group))
    if Reason.AUDIT_INCOMPLETE in reasons:
        left = math.ceil(basis.audited / (1 - basis.audit_missing) * basis.audit_missing)
        yield Action(ActionCode.COMPLETE_AUDIT, labels=left, kind=_RANDOM)


def _needed(found: Findings, group: Group | None) -> int:
    """Labels until a gap would be known, from the planner where it has the group."""
    planned = [
        each.labels
        for each in found.inference.open
        if each.group == group or (group is None and each.group.key == _ALL)
    ]
    return min(planned) if planned else _AUDIT_LABELS
