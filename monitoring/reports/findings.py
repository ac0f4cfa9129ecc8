"""The report of a model with findings: each of them in short, the most serious first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from monitoring.diagnosis.coverage import NOW, first_day
from monitoring.diagnosis.facts import State
from monitoring.ledger.database import Ledger
from monitoring.ledger.version_events import promoted_version
from monitoring.ledger.versions import family
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.reports.report import Report, ReportSummary, report_on
from monitoring.reports.timeline import VersionedEntry, read_timeline

WORST_FIRST = (
    State.ALARM,
    State.LOOK,
    State.HEALED,
    State.STALE,
    State.UNKNOWN,
    State.FINE,
)


@dataclass(frozen=True)
class FindingsReport:
    """How calibrated each finding of a version is.

    `since_day`: the first UTC day of the window, counted from 1970; `findings`: the most serious
    state first; `entries`: the model's history in the window, newest last.
    """

    model: str
    version: int
    versions: tuple[int, ...]
    window: str
    since_day: int | None
    findings: tuple[ReportSummary, ...]
    entries: tuple[VersionedEntry, ...]

    @property
    def reports(self) -> tuple[ReportSummary, ...]:
        return self.findings


def is_of_one(ledger: Ledger, model: str, version: int | None, finding: str | None) -> bool:
    """Whether a report is about exclusive classes, or the finding that is named; else it is about
    all findings of the version, by default of the one in production. Raises ModelNotInLedger.
    """
    with ledger.read() as connection:
        return bool(finding) or not _rows(connection, model, version)[0].finding


def kind_of_report(data: Mapping[str, Any]) -> type[Report | FindingsReport]:
    """Return which of the two reports the JSON of one is."""
    return FindingsReport if "findings" in data else Report


def findings_report(
    ledger: Ledger, model: str, *, version: int | None = None, window: str = NOW
) -> FindingsReport:
    """Report on each finding of a version, by default of the one in production; of a version with
    exclusive classes, on the version itself.

    Raises ModelNotInLedger and QueryInvalid, as `calibration_report`.
    """
    with ledger.read() as connection:
        rows = _rows(connection, model, version)
        first, now_ns = rows[0], ledger.clock()
        since_day = first_day(window, now_ns=now_ns)
        entries = read_timeline(connection, model, since_day=since_day)
    reports = [_summary(ledger, row, window) for row in rows]
    return FindingsReport(
        model,
        first.version,
        reports[0].versions,
        window,
        since_day,
        tuple(sorted(reports, key=seriousness)),
        tuple(entries),
    )


def _summary(ledger: Ledger, row: WatchedVersion, window: str) -> ReportSummary:
    with ledger.read() as connection:
        return report_on(ledger, connection, row, window=window, slices=False).summary()


def _rows(connection: Connection, model: str, version: int | None) -> list[WatchedVersion]:
    chosen = promoted_version(connection, model) if version is None else version
    return family(connection, model, chosen)


def seriousness(report: ReportSummary) -> tuple[int, float, str, str]:
    """Return what sorts reports: by state, then by the evidence of the watch, then by name."""
    evidence = report.drift.log_evalue if report.drift else 0.0
    state = WORST_FIRST.index(report.diagnosis.state)
    return state, -evidence, report.model, report.finding
