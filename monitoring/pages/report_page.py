"""The report as a document: one file without links or scripts, for print and for the files."""

from monitoring.ledger.schema import DAY_NS
from monitoring.pages.formatting import calendar_day
from monitoring.pages.rendering import render
from monitoring.pages.sections import sections
from monitoring.reports.page_data import PageData


def report_page(found: PageData) -> str:
    """Render the document for A4. Its figures are those of the time of writing."""
    return render("report.html", **sections(found), acts=False, period=_period(found))


def _period(found: PageData) -> str:
    today = calendar_day(found.report.generated_at_ns // DAY_NS)
    if found.since_day is not None:
        return f"Answers served from {calendar_day(found.since_day)} to {today}"
    if found.report.window == "all":
        return "All labeled answers"
    return f"Window {found.report.window}"
