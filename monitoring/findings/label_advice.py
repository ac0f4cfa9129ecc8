"""What the choice of the labels means for a verdict, and what to do about it, in sentences."""

import math
from collections.abc import Iterator

from calibration.wording import counted
from monitoring.findings.audit import FEW_LABELS, Audit
from monitoring.findings.phrases import percent, points
from monitoring.findings.selection import LabelSelection
from monitoring.findings.status import Status
from monitoring.findings.unchecked import not_checked

_BOUNDED_BELOW = 0.5  # below this share of labeled answers the bounds of accuracy are quoted
_NAMED = 3  # kinds of answers in a sentence
COMPLAINTS = "wrong answers come back more often, as complaints"
RIVAL_WORRIES = {
    Status.OFF: (
        "Possibly: the labels show more error than chance explains. Either confidence is off, or "
        "wrong answers get labels more often than right ones. The drift alarm is not active."
    ),
    Status.ALARM: (
        "Probably: the drift alarm is active. Either confidence no longer matches accuracy, or the "
        "labels favor wrong answers (or right ones); these labels cannot tell which."
    ),
}


def selection_is_rival(selection: LabelSelection, *, alarm_audit: bool) -> bool:
    """Whether the choice of the labels is one possible cause of the error that they show.

    `alarm_audit`: whether the alarm, if there is one, was raised on audited answers.
    """
    audit = selection.audit
    return not selection.is_fair and not (
        alarm_audit and audit is not None and not audit.may_be_biased
    )


def rival_cause(selection: LabelSelection, *, signed_gap: float) -> str:
    """The choice of the labels as a possible cause; `signed_gap`: what they show."""
    often = (
        "right answers come back more often, as confirmed findings"
        if signed_gap < 0
        else COMPLAINTS
    )
    if selection.audit_decides and selection.audit is not None:
        return (
            f"The choice of the labels is a rival cause: {percent(selection.audit.missing)} of the "
            "answers drawn for the audit have no label, long after they were drawn. If that has to "
            "do with the outcome, a calibrated model shows the same."
        )
    return (
        f"The choice of the labels is a rival cause: {percent(selection.coverage)} of answers have "
        f"one, and not by a random draw. If {often} do, a calibrated model shows the same. Labels "
        "of a random audit, or of a random sample of recent answers, tell the two apart."
    )


def audit_by(*, served_elsewhere: bool) -> str:
    """How answers get drawn for an audit, as a clause; `served_elsewhere`: they are logged."""
    if served_elsewhere:
        return (
            'draw answers at random, log them with "audit": their probability, and label every '
            "one of them"
        )
    return (
        'set CANDOR_AUDIT_SHARE where the model is served, and label every answer with "audit": '
        "true"
    )


def tell_apart(selection: LabelSelection, *, served_elsewhere: bool) -> str:
    """What to do first where the choice of the labels may be the cause."""
    if selection.audit_decides and selection.audit is not None:
        return (
            f"First tell the causes apart: {_label_the_missing(selection.audit)} Do not "
            "recalibrate before."
        )
    return (
        f"First tell the causes apart: label a random sample of recent answers, {FEW_LABELS} or "
        f"more, whatever their outcome. Best {audit_by(served_elsewhere=served_elsewhere)}; see "
        "docs/how-to/audits.md. Do not recalibrate before."
    )


def check_the_rest(selection: LabelSelection) -> Iterator[str]:
    """What would check what is not checked."""
    if selection.unchecked:
        kinds = "; ".join(each.name for each in selection.unchecked[:_NAMED])
        yield (
            f"Label some of the answers that are not checked: {kinds}. A random audit reaches all "
            "kinds of answers."
        )
    if selection.audit is not None and selection.audit.is_incomplete:
        missing = _label_the_missing(selection.audit)
        yield f"{missing[0].upper()}{missing[1:]}"


def describe_labels(selection: LabelSelection) -> Iterator[str]:
    """How many answers have labels, which kinds have none, and what the random audit shows."""
    if math.isfinite(selection.coverage):
        yield f"{percent(selection.coverage)} of answers have a label.{_bounds(selection)}"
    if unchecked := not_checked(selection.unchecked):
        yield unchecked
    audit = selection.audit
    if audit is None:
        return
    drawn = counted(audit.drawn, "answer")
    verb = "has" if audit.labeled == 1 else "have"
    yield (
        f"{audit.labeled:,} of {drawn} drawn for the random audit {verb} a label.{_missing(audit)}"
    )
    if audit.decides:
        yield (
            f"The random audit ({counted(audit.labeled, 'label')}) shows an ECE of "
            f"{percent(audit.ece)}; a calibrated model would show {percent(audit.noise_floor)} by "
            f"chance. Its confidence minus accuracy is {points(audit.signed_gap)} (95 % interval "
            f"{points(audit.signed_gap_lower)} to {points(audit.signed_gap_upper)}). Verdict, "
            "comparison and slices rest on it alone."
        )
    elif audit.labeled:
        yield (
            f"The audit decides from {FEW_LABELS} labels on; until then the figures rest on all "
            "labels."
        )


def _bounds(selection: LabelSelection) -> str:
    """How far the labels alone go, where few answers have one and no audit decides."""
    if selection.coverage >= _BOUNDED_BELOW or selection.audit_decides or not selection.coverage:
        return ""
    return (
        f" If all others were wrong, accuracy would be {percent(selection.accuracy_lowest)}; if "
        f"all were right, {percent(selection.accuracy_highest)}."
    )


def _missing(audit: Audit) -> str:
    if not audit.may_be_biased:
        return ""
    return (
        f" {percent(audit.missing)} of those drawn long enough ago have none: if that depends on "
        "the outcome, the audit is biased like any other choice."
    )


def _label_the_missing(audit: Audit) -> str:
    missing = audit.drawn - audit.labeled
    verb = "has" if missing == 1 else "have"
    return f"label the {counted(missing, 'answer')} drawn for the audit that {verb} no label."
