"""A report as one row of an overview: of all models, or of a model's findings."""

from typing import Any, NamedTuple

from calibration.diagnosis.groups import ALL
from calibration.operating.facts import LiveRate, RateName, RateStanding
from calibration.wording import in_points, percent
from monitoring.diagnosis.phrases import RATES
from monitoring.diagnosis.vocabulary import terms
from monitoring.diagnosis.words import Words, words_of
from monitoring.reports.findings import FindingsReport
from monitoring.reports.report import ReportSummary
from serving.pages.formatting import grouped
from serving.pages.sections import TONES


class OverviewRow(NamedTuple):
    """A report in short; `tone` is a class of the style sheet, `figures` are names and values."""

    report: ReportSummary
    tone: str
    words: Words
    figures: tuple[tuple[str, str], ...]


def overview_row(report: ReportSummary) -> OverviewRow:
    measures, known, found = report.measures, report.coverage, report.diagnosis
    said, whose = terms(report.finding), " (affected)" if report.elsewhere else ""
    figures = (
        (said.share, percent(measures.accuracy) + whose),
        (said.gap, in_points(measures.signed_gap) + whose),
        ("calibration error (ECE)", percent(measures.ece) + whose),
        ("by chance", percent(measures.noise_floor)),
        ("labels (of answers)", f"{grouped(known.labeled)} of {grouped(known.served)}"),
    )
    return OverviewRow(report, TONES[found.state], words_of(found), figures)


def rate_figures(report: ReportSummary) -> tuple[tuple[str, str], ...]:
    """Return the rates of all answers at the threshold in use, with what the card promises."""
    rates = report.diagnosis.operating_points.rates
    of_all = {rate.name: rate for rate in rates if rate.group.key == ALL}
    return tuple((f"{RATES[name]} (promised)", _rate(of_all.get(name))) for name in RateName)


def _rate(rate: LiveRate | None) -> str:
    if rate is None:
        return "-"
    promise, lower = rate.promise, rate.standing is RateStanding.LOWER
    promised = f" ({percent(promise.lower)} to {percent(promise.upper)})" if promise else ""
    return f"{percent(rate.rate.estimate)}{', lower' if lower else ''}{promised}"


def finding_rows(overview: FindingsReport) -> dict[str, Any]:
    """Return what the table of a model's findings shows."""
    rows = [
        row._replace(figures=row.figures + rate_figures(row.report))
        for row in map(overview_row, overview.findings)
    ]
    return {"overview": overview, "rows": rows, "figures": [name for name, _ in rows[0].figures]}
