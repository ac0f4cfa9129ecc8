"""The status of a model in one word and a few sentences, for a reader who does not know calibration error."""

import math
from enum import StrEnum
from typing import NamedTuple

from calibration.measures import Measures
from monitoring.findings.drift import Drift
from monitoring.findings.phrases import counted, percent

FEW_LABELS = 100  # with fewer labels the status is EARLY
LOUD_Z = 4.0  # ECE this many standard deviations above its noise floor is no chance, even when looked at often


class Status(StrEnum):
    """The status in one word. Only `alarm` justifies waking somebody."""

    NO_LABELS = "no-labels"
    EARLY = "early"
    OK = "ok"
    OFF = "off"
    ALARM = "alarm"


class Assessment(NamedTuple):
    """A status and the sentences that explain it."""

    status: Status
    sentence: str


def assess(measures: Measures, drift: Drift | None = None) -> Assessment:
    """Assess the labels of a window; `drift` is the detector's state, None if the version is not watched."""
    if measures.n == 0:
        return Assessment(Status.NO_LABELS, "No answer has a label yet, so the model's confidence cannot be checked.")
    finding = _finding(measures)
    if drift is not None and drift.alarm_label is not None:
        return Assessment(Status.ALARM, f"{finding}{_cancellation(measures)} {_alarm(drift, drift.alarm_label)}")
    if measures.n < FEW_LABELS:
        return Assessment(Status.EARLY, f"{finding} Fewer than {FEW_LABELS} labels are too few to rely on.")
    if _is_one_sided(measures) or _is_loud(measures):
        advice = "This is more than chance explains. The drift alarm is not active; keep labeling."
        return Assessment(Status.OFF, f"{finding}{_cancellation(measures)} {advice}")
    return Assessment(Status.OK, f"{finding} Chance alone can explain this difference.")


def _alarm(drift: Drift, alarm_label: int) -> str:
    return (
        f"The drift alarm has been active since label {alarm_label:,}. A calibrated model raises a false alarm at most "
        f"once in {drift.average_run_length:,.0f} labels on average. Recalibrate or roll back."
    )


def _is_one_sided(measures: Measures) -> bool:
    """Whether the 95 % interval of the signed gap excludes 0."""
    return measures.signed_gap_lower > 0 or measures.signed_gap_upper < 0


def _is_loud(measures: Measures) -> bool:
    """Whether ECE is far above its noise floor, which it can be although gaps of both signs cancel."""
    return math.isfinite(measures.ece_z) and measures.ece_z > LOUD_Z


def _cancellation(measures: Measures) -> str:
    """What to add when the signed gap looks harmless but the bins do not."""
    if _is_one_sided(measures) or not _is_loud(measures):
        return ""
    return (
        " Positive and negative differences cancel in that figure. Within bins of similar confidence they average "
        f"{100 * measures.ece:.1f} points (ECE); a calibrated model would show {100 * measures.noise_floor:.1f} by "
        "chance."
    )


def _finding(measures: Measures) -> str:
    return (
        f"In {counted(measures.n, 'labeled answer')}, confidence {_difference(measures)}. The model was on average "
        f"{percent(measures.mean_confidence)} confident and right {percent(measures.accuracy)} of the time."
    )


def _difference(measures: Measures) -> str:
    values = (measures.signed_gap, measures.signed_gap_lower, measures.signed_gap_upper)
    gap, lower, upper = (round(100 * value, 1) for value in values)
    if gap == 0:
        return f"equals accuracy to within 0.1 percentage points (95 % interval {lower:.1f} to {upper:.1f})"
    if gap < 0:
        return (
            f"falls short of accuracy by {-gap:.1f} percentage points (95 % interval {0.0 - upper:.1f} to {-lower:.1f})"
        )
    return f"exceeds accuracy by {gap:.1f} percentage points (95 % interval {lower + 0.0:.1f} to {upper:.1f})"
