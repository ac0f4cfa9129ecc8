"""What `candor report` prints: diagnosis, measures, slices and the reliability table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from calibration.diagnosis.groups import ALL
from calibration.document import Diagram, FigureTable, Heading, Items, Part
from calibration.figures import MEASURES_COLUMNS, figure, interval, measures_row, reliability_table
from calibration.measures.expected_confusion import RateEstimate
from calibration.operating.facts import OperatingPoints, RateName
from calibration.wording import call, counted, in_points, percent, percents, signed_points, typed
from candor.terminal.operating import operating_tables
from candor.terminal.verb_result import VerbResult
from monitoring.diagnosis.detectors import CalmEvidence, DetectorState, Drift, TagWatches
from monitoring.diagnosis.expected_performance import ExpectedPerformance
from monitoring.diagnosis.facts import RECALIBRATIONS, Action, ActionCode
from monitoring.diagnosis.phrases import (
    EACH_SINCE,
    RATES,
    day,
    since_words,
    slices_words,
    tolerance,
)
from monitoring.diagnosis.vocabulary import Terms, terms
from monitoring.diagnosis.words import ACTIONS_SHOWN, Words, estimate_words, words_of
from monitoring.http.json_body import plain
from monitoring.recalibration.answers import options_of
from monitoring.reports.findings import FindingsReport
from monitoring.reports.report import Report

SLICES_SHOWN = 5  # the worst
_OPEN = 3  # questions
_NOTE = "The intervals hold for all slices together."


@dataclass(repr=False, eq=False)
class Reported(VerbResult):
    """What the ledger says about a model, or about all of its findings; `html` has the page.

    `planned`: the open questions were asked for, so all are shown. `fails_on_alarm`: an active
    alarm is exit code 1.
    """

    report: Report | FindingsReport
    html: str | PathLike[str] | None
    planned: bool = False
    fails_on_alarm: bool = False

    @property
    def failed(self) -> bool:
        return self.fails_on_alarm and self.has_alarm

    @property
    def has_alarm(self) -> bool:
        """Whether the drift alarm is active, of any finding."""
        return any(each.drift is not None and each.drift.active for each in self.report.reports)

    def document(self) -> Iterator[Part]:
        report = self.report
        if isinstance(report, Report):
            yield from report_document(report, planned=self.planned)
        else:
            yield from findings_document(report)
        if self.html is not None:
            yield f"The report is in {self.html}"
        yield from _next(report) if isinstance(report, Report) else ()

    def as_dict(self) -> dict[str, Any]:
        found = self.report
        return found.as_dict() if isinstance(found, Report) else dict(plain(found))


def report_document(report: Report, *, planned: bool = False) -> list[Part]:
    """Return a calibration report, from what is known to what it rests on."""
    said = terms(report.finding)
    columns = [*map(said.reworded, MEASURES_COLUMNS)]
    return [
        f"{report.title} version {report.version}, window {report.window}",
        *_diagnosis(words_of(report.diagnosis), planned=planned),
        *_since(report),
        FigureTable("Measures", columns, list(_measures(report))),
        *operating_tables(report.diagnosis.operating_points, report.finding),
        *_expected(report.expected_performance, report.finding),
        f"{_coverage(report)}{_drift(report.drift, report.calm_evidence)}",
        *(_reliability(report, said) if report.measures.n else ()),
        *_slices(report, said),
        *_tags(report.tag_watches),
    ]


def _reliability(report: Report, said: Terms) -> Iterator[Part]:
    yield Diagram("labeled answers", report.bins)
    yield reliability_table("Reliability", report.bins, said.reworded)


def _measures(report: Report) -> Iterator[list[str]]:
    """The figures of those affected, or of all answers; and of all others."""
    name = "live" if report.elsewhere is None else "affected"
    yield measures_row(name, report.measures.as_dict())
    if report.elsewhere is not None:
        yield measures_row("others", report.elsewhere.as_dict())


def _since(report: Report) -> list[str]:
    said = since_words(report.diagnosis, report.since_s)
    return [f"{said}."] if said else []


def findings_document(overview: FindingsReport) -> list[Part]:
    """Return the findings of a model as a table, the most serious first."""
    rows = [
        [
            each.finding,
            words_of(each.diagnosis).title,
            str(each.measures.n),
            percent(each.measures.mean_confidence),
            percent(each.measures.accuracy),
            percent(each.measures.ece),
            percent(each.measures.noise_floor),
            *_rates(each.diagnosis.operating_points),
        ]
        for each in overview.findings
    ]
    columns = ("", "state", "labels", "probability", "share present", "ECE", "by chance")
    return [
        f"{overview.model} version {overview.version}, window {overview.window}",
        FigureTable("Findings, the most serious first", (*columns, *RATES.values()), rows),
        *([f"{EACH_SINCE}."] if any(each.since_s for each in overview.findings) else []),
        f"More about one: {call('report', finding='NAME')}",
    ]


def _rates(found: OperatingPoints) -> list[str]:
    """Return the rates of all answers at the threshold in use, and which are too low."""
    of_all = {rate.name: rate for rate in found.rates if rate.group.key == ALL}
    return [
        percent(of_all[name].rate.estimate) + (" lower" if of_all[name] in found.lower else "")
        if name in of_all
        else "-"
        for name in RateName
    ]


def _diagnosis(words: Words, *, planned: bool) -> list[Part]:
    """The first screen: what is known, and what to do; then what qualifies it."""
    steps = _listed("What to do", words.actions[:ACTIONS_SHOWN])
    qualified = (words.accuracy, words.sure, *words.causes, *words.barred, *words.signs)
    more = _listed("More", [each for each in qualified if each])
    questions = _listed("Open", words.questions if planned else words.questions[:_OPEN])
    return [Heading(words.title), *words.summary, *steps, *more, *questions]


def _next(report: Report) -> Iterator[str]:
    """How to do the first thing to do, if there is one."""
    first = next((each for each in report.diagnosis.actions if each.available), None)
    step = None if first is None else _step(first, report)
    if step is not None:
        yield f"Next: {step}"


def _step(action: Action, report: Report) -> str | None:
    if action.code in RECALIBRATIONS and not action.elsewhere:
        options = options_of(action)
        given: dict[str, Any] = dict(report.named)
        given |= {"for_": options.get("subgroup"), "since": options.get("since")}
        given |= {"allow_label_changes": "allow_label_changes" in options, "preview": True}
        named = {name: value for name, value in given.items() if value}
        return call("recalibrate", report.model, **named)
    if action.code in (ActionCode.PROMOTE, ActionCode.ROLL_BACK):
        return call("promote", report.model, action.version)
    if action.code is ActionCode.ACKNOWLEDGE:
        given = {**report.named, "tag": action.tag, "chosen_labels": action.audited_only}
        named = {name: value for name, value in given.items() if value}
        with typed():  # it is no function of Python
            return call("ledger acknowledge", report.model, **named, note="WHY")
    return None


def _listed(title: str, sentences: Sequence[str]) -> list[Part]:
    return [Items(sentences, title)] if sentences else []


def _coverage(report: Report) -> str:
    labeled, served = report.coverage.labeled, report.coverage.served
    if not served:
        return "There are no answers yet."
    return (
        f"{labeled:,} of {counted(served, 'answer')} {'has' if labeled == 1 else 'have'} a label."
    )


def _expected(expected: ExpectedPerformance, finding: str) -> list[Part]:
    rows = [
        [
            terms(finding).reworded(row.title),
            *_estimated(row.from_confidence),
            *_estimated(row.corrected),
            percent(row.compared.expected.value if row.compared else None),
            percent(row.compared.shown if row.compared else None),
            "contradicted" if row.compared and row.compared.contradicted else "",
        ]
        for row in expected.rows(of_one=terms(finding).of_one)
    ]
    columns = (
        "",
        "expected",
        "95 % interval",
        "corrected",
        "95 % interval",
        "labeled: expected",
        "shown",
        "",
    )
    return [
        estimate_words(expected, terms(finding)),
        *([FigureTable("Estimated before labels", columns, rows)] if rows else []),
    ]


def _estimated(rate: RateEstimate | None) -> tuple[str, str]:
    return (percent(rate.value), percents(rate.lower, rate.upper)) if rate else ("-", "-")


def _drift(drift: Drift | None, calm: CalmEvidence | None) -> str:
    if drift is None:
        return ""
    if not drift.labels and not drift.active:
        return " Drift detector: no alarm, no labels since the last reset."
    state = _alarm(drift) or "no alarm"
    usual = ""
    if calm and not drift.active:
        lower, upper = (
            figure(share * drift.log_threshold, 1) for share in (calm.lower, calm.upper)
        )
        usual = f" After as many labels, most calibrated models stand between {lower} and {upper}."
    return (
        f" Drift detector: {state}, {counted(drift.labels, 'label')} since the last reset. Its "
        f"evidence (log e) is {figure(drift.log_evalue, 1)}; an alarm takes "
        f"{drift.log_threshold:.1f}.{usual}"
    )


def _alarm(watched: DetectorState) -> str:
    if not watched.active:
        return ""
    return "alarm" if watched.raised_s is None else f"alarm of {day(watched.raised_s)}"


def _tags(tags: TagWatches | None) -> list[Part]:
    """Where the drift watches of tags stand, most evidence first."""
    if tags is None:
        return []
    rows = [
        [
            each.tag,
            str(each.labels),
            percent(each.evidence, 0),
            tolerance(each.tolerance),
            _alarm(each),
        ]
        for each in tags.watches[:SLICES_SHOWN]
    ]
    nothing: list[Part] = (
        [f"No answer with a value of {', '.join(tags.missing)} has a label yet."]
        if tags.missing
        else []
    )
    if not rows:
        return nothing
    columns = ("", "labels", "evidence for an alarm", "tolerance", "")
    return [FigureTable("Drift watch by tag, most evidence first", columns, rows), *nothing]


def _slices(report: Report, said: Terms) -> list[Part]:
    rows = [
        [
            each.name,
            str(each.n),
            percent(each.accuracy),
            in_points(each.signed_gap),
            interval(each.gap_lower, each.gap_upper, signed_points),
        ]
        for each in (report.slices.known[:SLICES_SHOWN] if report.slices else ())
        if each.n
    ]
    columns = [*map(said.reworded, ("", "n", "accuracy", "gap", "95 % interval"))]
    since = slices_words(report.diagnosis, report.since_s)
    if not rows:
        return []
    title = "Slices, the largest sure gap first"
    return [FigureTable(title, columns, rows), _NOTE, *([f"{since}."] if since else [])]
