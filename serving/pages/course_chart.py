"""The drift watch's evidence as inline SVG: its course label by label, and a bar of it now."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from calibration.bins import FloatArray
from model_store.bundle.diagram import file_style
from monitoring.diagnosis.detectors import CalmEvidence, Drift, calm_range
from monitoring.drift.course import EvidenceCourse
from serving.pages.axis import SHAPES, Chart, LabelAxis, Mark, Plot
from serving.pages.formatting import calendar_day, grouped, span, whole_percent
from serving.pages.rendering import render

_STEP_LIMIT = 80  # points of a chart; the label with the most evidence stands for those between
_HIGHEST = 1.25  # of the plot, as a share of what an alarm needs; what is above stands at its edge


class CourseStep(NamedTuple):
    """Labels in a row, and the most evidence among them.

    Attributes:
        first, last: their numbers, counted from 1 within what is drawn.
        at: the number of the label with the most evidence.
        chapter: counts the times that the watch had started from nothing.
        since_start: how many labels the watch had seen at that label.
        share: the evidence as a share of what an alarm needs, 0 or more.
        usual_lower, usual_upper: where nine in ten calibrated models stand; NaN for fewer labels
        than are known. first_day, last_day: UTC days of arrival, counted from 1970.
    """

    first: int
    last: int
    at: int
    chapter: int
    since_start: int
    share: float
    usual_lower: float
    usual_upper: float
    first_day: int
    last_day: int


class CourseEvent(NamedTuple):
    """An event: the last label before it (0 if unknown), its time, kind and sentence."""

    feedback_id: int
    at_ns: int
    kind: str
    sentence: str


def course_steps(course: EvidenceCourse) -> list[CourseStep]:
    """The points of the chart, at most about 80; none reaches over a restart of the watch."""
    if not len(course):
        return []
    shares = _shares(course)
    lower, upper = calm_range(course.labels, course.log_threshold)
    chapter = np.cumsum(course.labels == 1)
    size = math.ceil(len(course) / _STEP_LIMIT)
    starts = np.flatnonzero(
        (np.arange(len(course)) % size == 0) | (np.diff(chapter, prepend=chapter[0]) > 0)
    )
    steps, day = [], course.day
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(course)], strict=True):
        most = start + int(shares[start:end].argmax())
        steps.append(
            CourseStep(
                first=start + 1,
                last=end,
                at=most + 1,
                chapter=int(chapter[most]),
                since_start=int(course.labels[most]),
                share=float(shares[most]),
                usual_lower=float(lower[most]),
                usual_upper=float(upper[most]),
                first_day=int(day[start]),
                last_day=int(day[end - 1]),
            )
        )
    return steps


def course_chart(course: EvidenceCourse, events: Sequence[CourseEvent]) -> Chart | None:
    """The course. None without labels."""
    return Chart(partial(_draw, course, events)) if len(course) else None


def told(step: CourseStep) -> str:
    """What a point says."""
    first, last, share = grouped(step.first), grouped(step.last), whole_percent(step.share)
    labels = first if step.first == step.last else span(first, last)
    said = f"label {labels}, {_days(step)}: up to {share} of the evidence that an alarm needs"
    if math.isnan(step.usual_lower):
        return said
    return (
        f"{said}; usual: {span(whole_percent(step.usual_lower), whole_percent(step.usual_upper))}"
    )


def _draw(
    course: EvidenceCourse,
    events: Sequence[CourseEvent],
    *,
    width: int,
    own_style: Markup | None,
) -> Markup:
    axis, steps = LabelAxis.of(course.day, width=width), course_steps(course)
    plot, marks = Plot(axis, 0.0, _HIGHEST, steps=5), list(_marks(course, events))
    chapters = [list(each) for _, each in groupby(steps, key=lambda step: step.chapter)]
    return render(
        "course.svg",
        plot=plot,
        axis=axis,
        marks=axis.placed(marks),
        shapes=SHAPES,
        steps=[(step, told(step)) for step in steps],
        lines=[plot.line([(step.at, step.share) for step in each]) for each in chapters],
        usual=[area for each in chapters if (area := _area(plot, each))],
        described=_described(steps, axis, marks),
        own_style=own_style,
    )


def _marks(course: EvidenceCourse, events: Sequence[CourseEvent]) -> Iterator[Mark]:
    """Each event after its last label, or after the labels that had arrived before it."""
    for feedback_id, at_ns, kind, sentence in events:
        order, value = (
            (course.feedback_id, feedback_id) if feedback_id else (course.received_at_ns, at_ns)
        )
        if at := int(np.searchsorted(order, value, side="right")):
            yield Mark(at, kind, sentence)


def _area(plot: Plot, steps: Sequence[CourseStep]) -> list[tuple[float, float]]:
    """The outline of the usual range."""
    known = [step for step in steps if not math.isnan(step.usual_lower)]
    if not known:
        return []
    upper = plot.line([(step.at, step.usual_upper) for step in known])
    return upper + plot.line([(step.at, step.usual_lower) for step in known])[::-1]


def _described(steps: Sequence[CourseStep], axis: LabelAxis, marks: Sequence[Mark]) -> str:
    """What the chart shows, in a few sentences."""
    highest = max(steps, key=lambda step: step.share)
    days = span(calendar_day(steps[0].first_day), calendar_day(steps[-1].last_day))
    text = (
        f"Evidence of drift over {grouped(steps[-1].last)} labels, {days}: at most "
        f"{whole_percent(highest.share)} of what an alarm needs, {_days(highest)}; at the end "
        f"{whole_percent(steps[-1].share)}."
    )
    return text + "".join(axis.in_words(marks))


def _days(step: CourseStep) -> str:
    first, last = calendar_day(step.first_day), calendar_day(step.last_day)
    return first if first == last else span(first, last)


def _shares(course: EvidenceCourse) -> FloatArray:
    """(N,) the evidence as shares of what an alarm needs."""
    return np.asarray(np.maximum(course.log_evalue, 0.0) / course.log_threshold)


class EvidenceBar(NamedTuple):
    """The evidence as a share in [0, 1], and where nine in ten calibrated models stand."""

    share: float
    usual: CalmEvidence | None
    described: str


def evidence_bar(drift: Drift, share: float, usual: CalmEvidence | None) -> EvidenceBar:
    """Describe the evidence after `drift.labels` labels."""
    now = "alarm" if drift.active else f"{whole_percent(share)} of the evidence that an alarm needs"
    described = f"Evidence of drift: {now}."
    if usual is not None:
        between = span(whole_percent(usual.lower), whole_percent(usual.upper))
        described += f" After as many labels, {between} is usual."
    return EvidenceBar(share, usual, described)


def evidence_chart(bar: EvidenceBar, *, as_file: bool = False) -> Markup:
    """Draw the bar, as wide as there is room; as an SVG file of its own it has its scale."""
    return render("evidence.svg", bar=bar, own_style=file_style() if as_file else None)
