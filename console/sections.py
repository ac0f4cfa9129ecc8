"""The values of sections of the model page and the report."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from markupsafe import Markup

from calibration.diagnosis.facts import AnswerGroup, main_deviation
from calibration.diagnosis.groups import ALL
from calibration.measures.summary import MEASURES
from console.axis import SHAPES, Mark
from console.day_chart import FEW_LABELS, day_chart, day_dots, gap_chart
from console.formatting import calendar_day, span, whole_percent
from console.interval_chart import Forest
from console.rendering import render
from console.todo import filter_of, filter_of_others
from model_store.bundle.diagram import reliability_diagram, scale_of
from monitoring.diagnosis.coverage import DAY_S
from monitoring.diagnosis.detectors import CalmEvidence, Drift
from monitoring.diagnosis.facts import Diagnosis, State
from monitoring.diagnosis.live_comparison import comparison_words
from monitoring.diagnosis.phrases import answers_of, group_words, since_words, slices_words
from monitoring.diagnosis.vocabulary import Terms, terms
from monitoring.diagnosis.words import estimate_words, words_of
from monitoring.ledger.sum_tables import VALUE_LIMIT
from monitoring.reports.page_data import WHOLE, PageData, entry_day
from monitoring.reports.report import ClassBins, Report
from monitoring.reports.slices import LATEST


class Zoom(NamedTuple):
    """The days that charts over time show, as in addresses, and the ends they can have."""

    since: str
    until: str
    earliest: str
    latest: str
    is_whole: bool


def zoom_of(data: PageData) -> Zoom | None:
    """The zoom of a page; None where there are no two days to tell apart."""
    if data.extent is None or data.extent[0] == data.extent[1]:
        return None
    earliest, latest = data.extent
    first = earliest if data.span.first is None else data.span.first
    last = latest if data.span.last is None else data.span.last
    return Zoom(
        calendar_day(first),
        calendar_day(last),
        calendar_day(earliest),
        calendar_day(latest),
        data.span == WHOLE,
    )


TONES = {  # classes of the style sheet
    State.FINE: "ok",
    State.LOOK: "off",
    State.ALARM: "alarm",
    State.HEALED: "early",
    State.STALE: "early",
    State.UNKNOWN: "early",
}
_SLICES_SHOWN, _ROWS_SHOWN = 40, 12  # rows of the plot of slices, and of smaller tables
_DIAGRAM_LIMIT = 6  # diagrams of classes
_MARKED = ("alarm", "acknowledged", "reset", "promoted", "noted")  # events on the chart by day
_MEASURES = sorted(
    (each for each in MEASURES if each.page), key=lambda each: each.question != "calibration"
)


class Bar(NamedTuple):
    """An ECE as a bar; `tone` is a class of the style sheet."""

    name: str
    ece: float
    tone: str
    width_percent: int


class MeasureRow(NamedTuple):
    title: str
    explanation: str
    now: str
    elsewhere: str


def sections(data: PageData, *, is_live: bool = False) -> dict[str, Any]:
    """The values of `templates/sections`. `is_live`: of a page with links and charts to read, which
    sets `find`, the address of the answers behind a figure.
    """
    report = data.report
    affected, others = day_dots(data.affected), day_dots(data.others)
    dots, marks, drift = affected if others else day_dots(data.days), marks_of(data), report.drift
    scale = scale_of(each.bins for each in _drawn(report))
    said = terms(report.finding)
    drawn = [
        (each, reliability_diagram(each.bins, of=answers_of(each.name), scale=scale))
        for each in _drawn(report)
    ]
    known = report.slices.known if report.slices else ()
    since = {} if report.since_s is None else {"from": calendar_day(int(report.since_s // DAY_S))}
    return {
        "report": report,
        "said": said,
        "slices_filter": since,
        "bins_filter": since | (filter_of(_affected(report.diagnosis)) if report.elsewhere else {}),
        "versions": data.versions,
        "incomparable": comparison_words(None),
        "entries": data.entries,
        "since": since_words(report.diagnosis, report.since_s),
        "slices_since": slices_words(report.diagnosis, report.since_s),
        "words": words_of(report.diagnosis),
        "words_of": words_of,
        "tones": TONES,
        "estimate": estimate_words(report.expected_performance, said),
        "diagram": drawn_for(reliability_diagram(report.bins, of="all answers"), said),
        "class_diagrams": drawn,
        "classes_left_out": len(report.class_bins) - len(drawn),
        "shapes": SHAPES,
        "dots": dots,
        "day_chart": day_chart(dots, marks, zoom=data.span),
        "who": who(report.diagnosis),
        "affected_filter": filter_of(_affected(report.diagnosis)),
        "others_filter": filter_of_others(_affected(report.diagnosis)),
        "affected": affected,
        "others": others,
        "gap_chart": gap_chart(affected, marks, gap=said.gap, others=others, zoom=data.span),
        "zoom": zoom_of(data) if is_live else None,
        "is_live": is_live,
        "find": None,
        "evidence_chart": drift and evidence_chart(drift, evidence(drift), report.calm_evidence),
        "bars": _bars(report),
        "evidence": drift and evidence(drift),
        "measure_rows": list(_measure_rows(report)),
        "scores_of": LATEST if report.measures.n > LATEST and report.since_s is None else None,
        "slices_shown": _SLICES_SHOWN,
        "slice_limit": _ROWS_SHOWN,
        "forest": Forest.of(end for each in known for end in (each.gap_lower, each.gap_upper)),
        "value_limit": VALUE_LIMIT,
        "few_labels": FEW_LABELS,
    }


def who(found: Diagnosis) -> str:
    """Whom the main deviation names; all answers without one."""
    return group_words(_affected(found), terms(found.finding))


def _affected(found: Diagnosis) -> AnswerGroup:
    first = main_deviation(found.deviations)
    return AnswerGroup(ALL) if first is None else first.group


def marks_of(data: PageData) -> list[Mark]:
    """The events of this version that charts by day show."""
    return [
        Mark(entry_day(entry), entry["kind"], entry["sentence"])
        for entry in data.of_this_version
        if entry["kind"] in _MARKED
    ]


def _drawn(report: Report) -> list[ClassBins]:
    """The classes whose diagrams are drawn: those with most labels, in the card's order."""
    labels = {each.name: sum(row.n for row in each.bins) for each in report.class_bins}
    most = sorted(labels, key=lambda name: -labels[name])[:_DIAGRAM_LIMIT]
    return [each for each in report.class_bins if each.name in most and labels[each.name]]


def evidence(drift: Drift) -> float:
    """The share in [0, 1] of the evidence that an alarm needs."""
    collected = max(0.0, drift.log_evalue) if math.isfinite(drift.log_evalue) else 0.0
    return 1.0 if drift.active else min(1.0, collected / drift.log_threshold)


def evidence_chart(drift: Drift, share: float, usual: CalmEvidence | None) -> Markup:
    """Draw the evidence, as a share in [0, 1], and where nine in ten calibrated models stand after
    as many labels; a bar as wide as there is room.
    """
    now = "alarm" if drift.active else f"{whole_percent(share)} of the evidence that an alarm needs"
    described = f"Evidence of drift: {now}."
    if usual is not None:
        between = span(whole_percent(usual.lower), whole_percent(usual.upper))
        described += f" After as many labels, {between} is usual."
    return render("evidence.svg", share=share, usual=usual, described=described)


def _bars(report: Report) -> list[Bar]:
    eces = {
        "now": (report.measures.ece, "accent"),
        "by chance": (report.measures.noise_floor, "muted-tone"),
    }
    full = max([0.1, *(ece for ece, _ in eces.values() if math.isfinite(ece))])
    return [Bar(name, ece, tone, _percent_of(ece, full)) for name, (ece, tone) in eces.items()]


def _percent_of(ece: float, full: float) -> int:
    return round(100 * ece / full) if math.isfinite(ece) else 0


def _measure_rows(report: Report) -> Iterator[MeasureRow]:
    said = terms(report.finding)
    for measure in _MEASURES:
        figures = (report.measures, report.elsewhere)
        shown = (measure.shown(getattr(each, measure.name, None)) for each in figures)
        yield MeasureRow(said.reworded(measure.title), said.reworded(measure.text), *shown)


def drawn_for(drawing: Markup, said: Terms) -> Markup:
    """Return a drawing about confidence and accuracy in the words of a finding or of classes."""
    return Markup(said.reworded(drawing))  # of a drawing that is escaped already
