"""A report as one row of an overview: of all models, or of a model's findings."""

from typing import Any, NamedTuple

from calibration.wording import percent
from monitoring.diagnosis.phrases import in_points
from monitoring.diagnosis.words import Words, terms, words_of
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
    """Return the row of a report."""
    measures, found = report.measures, report.diagnosis
    said = terms(report.finding)
    figures = (
        (said.share, percent(measures.accuracy)),
        (said.gap, in_points(measures.signed_gap)),
        ("calibration error (ECE)", percent(measures.ece)),
        ("by chance", percent(measures.noise_floor)),
        ("labels", f"{grouped(measures.n)}, {percent(report.coverage.ratio)} of answers"),
    )
    return OverviewRow(report, TONES[found.state], words_of(found), figures)


def finding_rows(overview: FindingsReport) -> dict[str, Any]:
    """Return what the table of a model's findings shows."""
    rows = [overview_row(report) for report in overview.findings]
    return {"overview": overview, "rows": rows, "figures": [name for name, _ in rows[0].figures]}
