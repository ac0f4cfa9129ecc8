"""The report's one sentence, for somebody who never heard of calibration error."""

import math
from enum import StrEnum
from typing import NamedTuple

from calibration.measures import Measures

FEW_LABELS = 100  # below this the sentence says that it is early
LOUD_Z = 4.0  # standard deviations of ECE above its noise floor that are not chance, even when looked at often


class Status(StrEnum):
    """In one word; only `alarm` is worth waking somebody."""

    NO_LABELS = "no-labels"
    EARLY = "early"
    OK = "ok"
    OFF = "off"
    ALARM = "alarm"


class Assessment(NamedTuple):
    """A word and a sentence."""

    status: Status
    sentence: str


def assess(measures: Measures, *, alarm_label: int | None = None) -> Assessment:
    """Say what the labels in the window mean; `alarm_label` is set while the drift alarm stands."""
    if measures.n == 0:
        return Assessment(Status.NO_LABELS, "No answer has a label yet, so nothing can be said about its confidence.")
    finding = _finding(measures)
    if alarm_label is not None:
        alarm = f"The drift alarm stands since label {alarm_label:,}: this is not chance. Recalibrate, or roll back."
        return Assessment(Status.ALARM, f"{finding}{_cancellation(measures)} {alarm}")
    if measures.n < FEW_LABELS:
        return Assessment(Status.EARLY, f"{finding} That is few labels; wait for {FEW_LABELS} before believing it.")
    if _is_one_sided(measures) or _is_loud(measures):
        advice = "The drift watch has not raised its alarm; keep labeling."
        return Assessment(Status.OFF, f"{finding}{_cancellation(measures)} {advice}")
    return Assessment(Status.OK, f"{finding} That is within what chance does to a model whose confidence is true.")


def _is_one_sided(measures: Measures) -> bool:
    """The signed gap is more than chance."""
    return measures.signed_gap_lower > 0 or measures.signed_gap_upper < 0


def _is_loud(measures: Measures) -> bool:
    """ECE is more than chance, also where gaps of both signs cancel."""
    return math.isfinite(measures.ece_z) and measures.ece_z > LOUD_Z


def _cancellation(measures: Measures) -> str:
    """What to add when the signed gap looks harmless and the bins do not."""
    if _is_one_sided(measures) or not _is_loud(measures):
        return ""
    apart = f"{100 * measures.ece:.1f} points apart (ECE), where chance would make it {100 * measures.noise_floor:.1f}"
    return f" Gaps of both signs cancel in that figure: bin by bin, confidence and accuracy are {apart}."


def _finding(measures: Measures) -> str:
    gap = measures.signed_gap
    low, high = sorted(
        (measures.signed_gap_lower * math.copysign(1, gap), measures.signed_gap_upper * math.copysign(1, gap))
    )
    word = "exceeds" if gap >= 0 else "falls short of"
    answers = "1 labeled answer" if measures.n == 1 else f"{measures.n:,} labeled answers"
    return (
        f"In {answers} confidence {word} accuracy by {100 * abs(gap):.1f} percentage points "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f}): sure of {100 * measures.mean_confidence:.1f} %, "
        f"right in {100 * measures.accuracy:.1f} %."
    )
