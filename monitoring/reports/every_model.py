"""The reports of all models in short, each read again only once something changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from monitoring.diagnosis.reading import read_inferred
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import Days
from monitoring.ledger.marks import read_marks
from monitoring.ledger.versions import choose, idle_models
from monitoring.reports.findings import findings_report
from monitoring.reports.report import ReportSummary

_RENEWED_NS: Final = 600 * 10**9  # time alone changes a report, too, such as one that gets stale


@dataclass(frozen=True)
class EveryReport:
    """The findings of each model's production version, or it itself, without slices.

    `days`: of the answers that each diagnosis is about, by the title of the report; `idle`:
    declared models without answers, of which a report would say nothing; `mark`: the same for what
    was read again without a change.
    """

    reports: tuple[ReportSummary, ...]
    days: Mapping[str, tuple[Days, ...]]
    idle: Sequence[str]
    mark: Any


class EveryModel:
    """Reads them, one reader at a time; those who wait find what the first one read.

    `production` names a model's version in production, and `chosen` the one to report on.
    """

    def __init__(
        self,
        ledger: Ledger,
        production: Callable[[str], int | None],
        chosen: Callable[[str], int | None],
    ) -> None:
        self._ledger, self._production, self._chosen = ledger, production, chosen
        self._lock = Lock()
        self._known: dict[str, tuple[Any, tuple[ReportSummary, ...], dict[str, Any]]] = {}

    def read(self) -> EveryReport:
        with self._lock:
            with self._ledger.read() as connection:
                marks, idle = read_marks(connection), idle_models(connection)
            time = self._ledger.clock() // _RENEWED_NS
            known = self._known
            self._known = {
                model: self._of(model, (mark, self._production(model), time), known.get(model))
                for model, mark in marks.items()
                if model not in idle
            }
            found = self._known.values()
            return EveryReport(
                tuple(report for _, reports, _ in found for report in reports),
                {title: days for _, _, of_model in found for title, days in of_model.items()},
                idle,
                (tuple(mark for mark, _, _ in found), tuple(idle)),
            )

    def _of(self, model: str, mark: Any, known: Any) -> Any:
        if known is not None and known[0] == mark:
            return known
        reports = findings_report(self._ledger, model, version=self._chosen(model)).findings
        return mark, reports, read_days_of(self._ledger, reports)


def read_days_of(ledger: Ledger, reports: Sequence[ReportSummary]) -> dict[str, tuple[Days, ...]]:
    """The days of the answers that each diagnosis is about, by the title of the report."""
    with ledger.read() as connection:
        rows = [choose(connection, each.model, each.version, each.finding) for each in reports]
        inferred = [read_inferred(ledger, connection, row) for row in rows]
    return {each.title: found.affected for each, found in zip(reports, inferred, strict=True)}
