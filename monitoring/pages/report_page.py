"""The report as a document: one file without links or scripts, for print and for the files."""

from monitoring.ledger.days import day_date
from monitoring.ledger.sums import DAY_NS
from monitoring.pages.rendering import render
from monitoring.pages.sections import sections
from monitoring.reports.page_data import PageData


def report_page(found: PageData) -> str:
    """Render the document for A4. Its figures are those of the time of writing."""
    return render("report.html", **sections(found), acts=False, period=_period(found))


def _period(found: PageData) -> str:
    today = day_date(found.report.generated_at_ns // DAY_NS)
    if found.since_day is not None:
        return f"Answers served from {day_date(found.since_day)} to {today}"
    return "All labeled answers" if found.report.window == "all" else f"Window {found.report.window}"
