"""The report as a document: one file without links or scripts, for print and for the files; also at
regular times, one for each model and day, week or month (UTC, weeks from Monday).

The folder of scheduled reports is the memory. A report is due if the newest of its model was
written before the current period began, and covers the answers served since the period in which
that one was written. So what is missed while nothing runs is made up by one report, and nothing is
written twice. The first report covers the period before the current one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from monitoring.diagnosis.coverage import NOW
from monitoring.diagnosis.phrases import EACH_SINCE
from monitoring.diagnosis.words import words_of
from monitoring.drift.events import SETTINGS, STARTED, TAGS
from monitoring.ledger.database import Ledger
from monitoring.ledger.schema import DAY_NS
from monitoring.ledger.version_events import promoted_version
from monitoring.ledger.watched_version import named
from monitoring.reports.findings import FindingsReport, findings_report, is_of_one
from monitoring.reports.page_data import PageData, read_page_data, window_since
from monitoring.reports.report import ReportSummary
from monitoring.reports.timeline import VersionedEntry
from serving.pages.formatting import calendar_day
from serving.pages.overview import finding_rows
from serving.pages.rendering import render
from serving.pages.sections import sections

_LOOKED: Final = 6  # of what happened, the latest
_NOT_LOOKED: Final = (SETTINGS, STARTED, TAGS)


def report_page(data: PageData, *, opened_by: str = "") -> str:
    """Render the document, two sheets of A4. Its figures are those of the time of writing.

    `opened_by`: who asked for it.
    """
    return render("report.html", **report_values(data), opened_by=opened_by)


def report_values(data: PageData) -> dict[str, Any]:
    values = sections(data)
    return values | {
        "period": values["since"] or _period(data.report, data.since_day),
        "looked": looked(data.entries),
    }


def findings_report_page(overview: FindingsReport, *, opened_by: str = "") -> str:
    return render("findings_report.html", **findings_values(overview), opened_by=opened_by)


def findings_values(overview: FindingsReport) -> dict[str, Any]:
    return finding_rows(overview) | {
        "linked": False,
        "period": EACH_SINCE
        if any(each.since_s for each in overview.findings)
        else _period(overview.findings[0], overview.since_day),
        "looked": looked(overview.entries),
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


_SENT = ".sent"


class Period(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def first_day(self, day: date) -> date:
        """Return the first day of the period with this day.

        >>> Period.WEEK.first_day(date(2026, 10, 1)).isoformat()
        '2026-09-28'
        >>> Period.MONTH.first_day(date(2026, 10, 9)).isoformat()
        '2026-10-01'
        """
        if self is Period.WEEK:
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self is Period.MONTH else day


@dataclass(frozen=True)
class DueReport:
    """A report to make: of answers served since a day, into a file."""

    model: str
    since: date
    file: Path


@dataclass(frozen=True)
class WrittenReport:
    """A report that was made, and its page; of a model with findings, the most serious of them."""

    report: ReportSummary
    since: date
    file: Path
    page: str

    def message(self, *, html_limit: int) -> dict[str, str | int | None]:
        """Return what a webhook is told; a page longer than `html_limit` characters is left out."""
        report = self.report
        which = f"{report.title} version {report.version}, answers since {self.since}"
        return {
            "text": f"{which}: {words_of(report.diagnosis).title}",
            "model": report.model,
            "version": report.version,
            "finding": None,
            "since": self.since.isoformat(),
            "state": report.diagnosis.state.value,
            "accuracy": report.diagnosis.accuracy.answer.value,
            "file": self.file.name,
            "html": self.page if len(self.page) <= html_limit else None,
            **named(report.finding),
        }


def find_due(folder: Path, model: str, every: Period, *, today: date) -> DueReport | None:
    """Return the report that is due; None if the current period has one."""
    dates, current = _dates(folder, model), every.first_day(today)
    if dates and dates[-1] >= current:
        return None
    since = every.first_day(dates[-1] if dates else current - timedelta(days=1))
    return DueReport(model, since, _file(folder, model, today))


def find_unsent(folder: Path, model: str, every: Period) -> DueReport | None:
    """Return the newest report if it was not sent; older ones are not sent later."""
    dates = _dates(folder, model)
    if not dates or _file(folder, model, dates[-1]).with_suffix(_SENT).exists():
        return None
    before = dates[-2] if len(dates) > 1 else every.first_day(dates[-1]) - timedelta(days=1)
    return DueReport(model, every.first_day(before), _file(folder, model, dates[-1]))


def make(ledger: Ledger, due: DueReport) -> WrittenReport:
    """Render the report of the production version, or of the newest if none was promoted."""
    with ledger.read() as connection:
        version = promoted_version(connection, due.model)
    window = window_since(due.since.isoformat(), now_ns=ledger.clock())

    if is_of_one(ledger, due.model, version, None):
        data = read_page_data(ledger, due.model, version=version, window=window)
        return WrittenReport(data.report, due.since, due.file, report_page(data))
    overview = findings_report(ledger, due.model, version=version, window=window)
    page = findings_report_page(overview)
    return WrittenReport(overview.findings[0], due.since, due.file, page)


def write(made: WrittenReport) -> None:
    """Write the page; whoever reads the folder sees the whole file or none."""
    temporary = made.file.with_suffix(".new")
    temporary.write_text(made.page, encoding="utf-8")
    temporary.replace(made.file)


def mark_sent(file: Path) -> None:
    file.with_suffix(_SENT).touch()


def today_of(ledger: Ledger) -> date:
    return datetime.fromtimestamp(ledger.clock() / 1e9, UTC).date()


def _file(folder: Path, model: str, day: date) -> Path:
    return folder / f"{quote(model, safe='')}-{day.isoformat()}.html"


def _dates(folder: Path, model: str) -> list[date]:
    """Return the days on which reports of a model were written, oldest first."""
    dates, prefix = [], f"{quote(model, safe='')}-"
    for file in folder.glob("*.html"):
        try:
            dates.append(date.fromisoformat(file.stem.removeprefix(prefix)))
        except ValueError:
            continue  # of another model, or not ours
    return sorted(dates)
