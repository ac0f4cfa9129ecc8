"""The status of a model in one word and a few sentences, for a reader who does not know calibration
error.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from calibration.measures.summary import Measures
from calibration.wording import counted
from monitoring.findings.audit import FEW_LABELS
from monitoring.findings.drift import Drift, TagDrift
from monitoring.findings.phrases import percent, points
from monitoring.findings.selection import COMPLETE, LabelSelection
from monitoring.findings.unchecked import not_checked

# ECE this many standard deviations above its noise floor is no chance, even when looked at often
LOUD_Z = 4.0
_ONE_SIGN = 0.9  # of the ECE: differences that add up to as much have one sign
_TAGS_NAMED = 3


class Status(StrEnum):
    """The status in one word. Only `alarm` justifies waking somebody."""

    NO_LABELS = "no-labels"
    EARLY = "early"
    OK = "ok"
    PARTLY = "partly-checked"
    OFF = "off"
    ALARM = "alarm"


class Assessment(NamedTuple):
    """A status and the sentences that explain it."""

    status: Status
    sentence: str


def assess(
    measures: Measures,
    drift: Drift | None = None,
    selection: LabelSelection | None = None,
    tag_alarms: Sequence[TagDrift] = (),
) -> Assessment:
    """Assess the labels of a window.

    Args:
        measures: of the labels on which the verdict rests: those of the random audit where it
            decides.
        drift: the detector's state, None if the version is not watched.
        selection: how the labels were selected, None if they are a fair sample.
        tag_alarms: the watches of tags with an active alarm.
    """
    if measures.n == 0:
        return Assessment(
            Status.NO_LABELS,
            "No answer has a label yet, so the model's confidence cannot be checked.",
        )
    status, told = _assess(measures, drift, selection, tag_alarms)
    audit = " drawn for the random audit" if selection and selection.audit_decides else ""
    unchecked = not_checked(selection.unchecked) if selection else ""
    return Assessment(status, " ".join(filter(None, [_finding(measures, audit), *told, unchecked])))


def _assess(
    measures: Measures,
    drift: Drift | None,
    selection: LabelSelection | None,
    tag_alarms: Sequence[TagDrift],
) -> tuple[Status, list[str]]:
    """Return the status, and the sentences that lead to it."""
    if drift is not None and drift.alarm_label is not None:
        return Status.ALARM, [
            _cancellation(measures),
            _alarm(drift, drift.alarm_label, selection),
            _of_tags(tag_alarms),
        ]
    if drift is not None and tag_alarms:
        fair = _is_fair(selection, audited=all(each.alarm_audit for each in tag_alarms))
        return Status.ALARM, [f"{_of_tags(tag_alarms)} {_promise(drift, fair=fair)}"]
    if measures.n < FEW_LABELS:
        return Status.EARLY, [f"Fewer than {FEW_LABELS} labels are too few to rely on."]
    if is_more_than_chance(measures, selection):
        told = [_cancellation(measures), _as_served(measures, selection)]
        return Status.OFF, [
            *told,
            "At this look, this is more than chance explains. The drift alarm is not active.",
        ]
    if selection and (selection.unchecked or (selection.audit and selection.audit.is_incomplete)):
        return Status.PARTLY, ["Chance alone can explain this difference, where there are labels."]
    return Status.OK, ["Chance alone can explain this difference."]


def is_more_than_chance(measures: Measures, selection: LabelSelection | None = None) -> bool:
    """Whether labels show more error than chance, as they are or weighted by answers served."""
    weighted = selection.post_stratified if selection else None
    return (
        _is_one_sided(measures)
        or _is_loud(measures)
        or (weighted is not None and weighted.is_one_sided)
    )


def _alarm(drift: Drift, alarm_label: int, selection: LabelSelection | None) -> str:
    fair = _is_fair(selection, audited=drift.alarm_audit)
    return (
        f"The drift alarm has been active since label {alarm_label:,}. {_promise(drift, fair=fair)}"
    )


def _promise(drift: Drift, *, fair: bool) -> str:
    model = (
        "A model that is calibrated in each predicted class"
        if drift.class_wise
        else "A calibrated model"
    )
    if drift.shares_alarms:
        model += (
            ", and so at each tag that is watched,"
            if drift.class_wise
            else " that is so at each watched tag"
        )
    promise = (
        f"{model} raises a false alarm at most once in {drift.average_run_length:,.0f} labels on "
        "average"
    )
    return (
        f"{promise}."
        if fair
        else f"{promise}, if its labels are not chosen by whether it was right."
    )


def _is_fair(selection: LabelSelection | None, *, audited: bool) -> bool:
    """Whether the choice of the labels cannot have raised an alarm."""
    biased = selection is not None and selection.audit is not None and selection.audit.may_be_biased
    return selection is None or selection.coverage >= COMPLETE or (audited and not biased)


def _of_tags(tag_alarms: Sequence[TagDrift]) -> str:
    """Which tags have an active alarm."""
    if not tag_alarms:
        return ""
    since = [
        f"{each.tag} (since their label {each.alarm_label:,})" for each in tag_alarms[:_TAGS_NAMED]
    ]
    more = len(tag_alarms) - _TAGS_NAMED
    rest = f" and {counted(more, 'more tag')}" if more > 0 else ""
    alarms, are = ("alarm", "is") if len(tag_alarms) == 1 else ("alarms", "are")
    return f"The drift {alarms} of answers with {', '.join(since)}{rest} {are} active."


def _as_served(measures: Measures, selection: LabelSelection | None) -> str:
    """What to add when the gap shows only at the weights of the answers served."""
    if selection is None or _is_one_sided(measures) or not selection.post_stratified.is_one_sided:
        return ""
    gap = selection.post_stratified.signed_gap
    verb = "exceeds" if gap > 0 else "falls short of"
    return (
        f"Weighted by the answers served at each confidence, confidence {verb} accuracy by "
        f"{points(abs(gap))}."
    )


def _is_one_sided(measures: Measures) -> bool:
    """Whether the 95 % interval of the signed gap excludes 0."""
    return measures.signed_gap_lower > 0 or measures.signed_gap_upper < 0


def _is_loud(measures: Measures) -> bool:
    """Whether ECE is far above its noise floor, though gaps of both signs may cancel."""
    return math.isfinite(measures.ece_z) and measures.ece_z > LOUD_Z


def _cancellation(measures: Measures) -> str:
    """What to add when the signed gap looks harmless but the bins do not."""
    if _is_one_sided(measures) or not _is_loud(measures):
        return ""
    cancel = "Positive and negative differences cancel in that figure. "
    return (
        f"{cancel if abs(measures.signed_gap) < _ONE_SIGN * measures.ece else ''}Within bins of "
        f"similar confidence the differences average {100 * measures.ece:.1f} points (ECE); a "
        f"calibrated model would show {100 * measures.noise_floor:.1f} by chance."
    )


def _finding(measures: Measures, audit: str) -> str:
    return (
        f"In {counted(measures.n, 'labeled answer')}{audit}, confidence {_difference(measures)}. "
        f"The model was on average {percent(measures.mean_confidence)} confident and right "
        f"{percent(measures.accuracy)} of the time."
    )


def _difference(measures: Measures) -> str:
    values = (measures.signed_gap, measures.signed_gap_lower, measures.signed_gap_upper)
    gap, lower, upper = (round(100 * value, 1) + 0.0 for value in values)  # no minus before zero
    if gap == 0:
        return (
            f"equals accuracy to within 0.1 percentage points (95 % interval {lower:.1f} to "
            f"{upper:.1f})"
        )
    if gap < 0:
        lower, upper = 0.0 - upper, 0.0 - lower
        return (
            f"falls short of accuracy by {-gap:.1f} percentage points (95 % interval {lower:.1f} "
            f"to {upper:.1f})"
        )
    return (
        f"exceeds accuracy by {gap:.1f} percentage points (95 % interval {lower:.1f} to "
        f"{upper:.1f})"
    )
