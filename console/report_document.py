"""The report as a document: one file without links or scripts, for print and for the files."""

from collections.abc import Sequence
from typing import Any, Final

from console.formatting import calendar_day
from console.overview import finding_values
from console.rendering import render
from console.sections import sections
from monitoring.diagnosis.coverage import NOW
from monitoring.diagnosis.phrases import EACH_SINCE
from monitoring.drift.events import SETTINGS, STARTED, TAGS
from monitoring.ledger.schema import DAY_NS
from monitoring.reports.findings import FindingsReport
from monitoring.reports.page_data import PageData
from monitoring.reports.report import ReportSummary
from monitoring.reports.timeline import VersionedEntry

_LOOKED: Final = 6  # of what happened, the latest
_NOT_LOOKED: Final = (SETTINGS, STARTED, TAGS)


def report_page(found: PageData | FindingsReport, *, opened_by: str = "") -> str:
    """Render the document, two sheets of A4. Its figures are those of the time of writing.

    `opened_by`: who asked for it.
    """
    return render("report.html", **report_values(found), opened_by=opened_by)


def report_values(found: PageData | FindingsReport) -> dict[str, Any]:
    """The values of the document: of classes or one finding, or a table of all findings."""
    of: ReportSummary
    if isinstance(found, PageData):
        values, of, paper = sections(found), found.report, "paper"
        title, asked, since = of.title, of.named, values["since"]
    else:
        values, of, paper = finding_values(found), found.findings[0], "findings_paper"
        title, asked = found.model, {"version": str(found.version)}
        since = EACH_SINCE if any(each.since_s for each in found.findings) else ""
    return values | {
        "of": of,
        "title": title,
        "asked": asked,
        "paper": f"sections/{paper}.html.jinja",
        "period": since or _period(of, found.since_day),
        "looked": looked(found.entries),
    }


def looked(entries: Sequence[VersionedEntry]) -> list[tuple[str, str]]:
    """Return who looked, and what happened: times and sentences, the newest first. What all
    findings share is said once.
    """
    shared = dict[tuple[str, str], list[str]]()
    for each in entries:
        if each["kind"] not in _NOT_LOOKED:
            shared.setdefault((each["at"], each["sentence"]), []).append(each["finding"])
    said = [
        (at, f"{of[0]}: {sentence}" if of[0] and len(of) == 1 else sentence)
        for (at, sentence), of in shared.items()
    ]
    return said[: -_LOOKED - 1 : -1]


def _period(report: ReportSummary, since_day: int | None) -> str:
    today = calendar_day(report.generated_at_ns // DAY_NS)
    if since_day is not None:
        return f"Answers served from {calendar_day(since_day)} to {today}"
    return "All labeled answers" if report.window in (NOW, "all") else f"Window {report.window}"
