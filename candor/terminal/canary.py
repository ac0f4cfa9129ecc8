"""The table of `candor canary status`: production and canary side by side."""

from collections.abc import Mapping

from calibration.document import FigureTable
from model_store.store.state import Canary
from monitoring.reports.report import Report

COLUMNS = ("", "version", "answers", "labels", "detector")


def canary_sentence(canary: Canary) -> str:
    """Say what the canary answers, or how it ended.

    >>> from datetime import UTC, datetime
    >>> digest, at = f"sha256:{64 * '0'}", datetime.now(UTC)
    >>> tried = Canary(version=2, digest=digest, mode="share", share=0.05, started_at=at)
    >>> canary_sentence(tried)
    'version 2 is the canary and answers 5 % of the requests'
    """
    if canary.ended is None:
        return f"version {canary.version} is the canary and {canary.how}"
    how = (
        "was put into production"
        if canary.ended == "promoted"
        else "was ended without being put into production"
    )
    why = f": {canary.reason}" if canary.reason else ""
    return f"the last canary, version {canary.version}, {how}{why}"


def comparison_table(
    versions: Mapping[str, int | None], reports: Mapping[str, Report | None]
) -> FigureTable:
    """Return one row per role, such as "canary"; a report is None if no ledger has it."""
    return FigureTable(
        "", COLUMNS, [_row(role, version, reports.get(role)) for role, version in versions.items()]
    )


def _row(role: str, version: int | None, report: Report | None) -> list[str]:
    if version is None or report is None:
        return [role, "-" if version is None else str(version), "0", "0", "-"]
    coverage = report.coverage
    alarm = "alarm" if report.drift and report.drift.active else "quiet"
    return [
        role,
        str(version),
        str(coverage.served),
        str(coverage.labeled),
        alarm,
    ]
