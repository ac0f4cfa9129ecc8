"""The reports of all models in short, each read again only once something changed."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, Final

from monitoring.diagnosis.reading import read_inferred
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import Days
from monitoring.ledger.marks import read_marks
from monitoring.ledger.versions import choose, idle_models
from monitoring.reports.findings import findings_report
from monitoring.reports.report import ReportSummary

_NOTHING: Final = (None,)
_RENEWED_NS: Final = 600 * 10**9  # time alone changes a report, too, such as one that gets stale


@dataclass(frozen=True)
class EveryReport:
    """The findings of each model's production version, or it itself, without slices.

    `days`: of the answers that each diagnosis is about, by the title of the report; `idle`:
    declared models without answers, of which a report would say nothing; `unread`: models that
    changed and are still being read, whose earlier reports these are, if there are any; `mark`: the
    same for what was read again without a change.
    """

    reports: tuple[ReportSummary, ...]
    days: Mapping[str, tuple[Days, ...]]
    idle: Sequence[str]
    unread: Sequence[str]
    mark: Any


class EveryModel:
    """Reads them in one thread at a time, which ends once all are read.

    `served` names the version of a model that this process answers with, which may change before
    the ledger does, and `chosen` the one to report on.
    """

    def __init__(
        self,
        ledger: Ledger,
        served: Callable[[str], int | None],
        chosen: Callable[[str], int | None],
    ) -> None:
        self._ledger, self._served, self._chosen = ledger, served, chosen
        self._lock = Lock()
        self._reader: Future[None] | None = None
        self._idle: tuple[Any, Sequence[str]] = (None, ())
        self._known: dict[str, tuple[Any, tuple[ReportSummary, ...], dict[str, Any]]] = {}

    def read(self, *, limit_s: float | None = None) -> EveryReport:
        """All models; after `limit_s`, those that are read by then. Raises SQLAlchemyError."""
        ends_s = None if limit_s is None else time.monotonic() + limit_s
        for still in (2, 1, 0):  # one reading may have begun earlier, and know less
            with self._ledger.read() as connection:
                marks, (seen, idle) = read_marks(connection), self._idle
                if seen != marks:
                    idle = idle_models(connection)
                    self._idle = marks, idle
            now = self._ledger.clock() // _RENEWED_NS
            wanted = {
                model: (mark, self._served(model), now)
                for model, mark in marks.items()
                if model not in idle
            }
            known = self._known
            unread = [each for each, mark in wanted.items() if known.get(each, _NOTHING)[0] != mark]
            left_s = None if ends_s is None else ends_s - time.monotonic()
            if not unread or not still or (left_s is not None and left_s <= 0):
                break
            with suppress(TimeoutError):
                self._reading(wanted).result(left_s)
        found = [known[model] for model in wanted if model in known]
        return EveryReport(
            tuple(report for _, reports, _ in found for report in reports),
            {title: days for _, _, of_model in found for title, days in of_model.items()},
            idle,
            unread,
            (tuple(mark for mark, _, _ in found), tuple(idle), tuple(unread)),
        )

    def _reading(self, wanted: Mapping[str, Any]) -> "Future[None]":
        """The reading that goes on, one that failed while nobody waited, or one that begins now."""
        with self._lock:
            reader = self._reader
            if reader is not None and reader.done() and reader.exception() is not None:
                self._reader = None  # and then it is read again
                return reader
            if reader is None or reader.done():
                self._reader = reader = Future()
                Thread(target=self._read_into, args=(reader, wanted), daemon=True).start()
            return reader

    def _read_into(self, reader: "Future[None]", wanted: Mapping[str, Any]) -> None:
        try:
            self._known = {model: each for model, each in self._known.items() if model in wanted}
            for model, mark in wanted.items():
                if self._known.get(model, _NOTHING)[0] != mark:
                    version = self._chosen(model)
                    reports = findings_report(self._ledger, model, version=version).findings
                    of_model = mark, reports, read_days_of(self._ledger, reports)
                    self._known = {**self._known, model: of_model}
            reader.set_result(None)
        except Exception as error:  # noqa: BLE001 raised where somebody waits, or asks next
            reader.set_exception(error)


def read_days_of(ledger: Ledger, reports: Sequence[ReportSummary]) -> dict[str, tuple[Days, ...]]:
    """The days of the answers that each diagnosis is about, by the title of the report."""
    with ledger.read() as connection:
        rows = [choose(connection, each.model, each.version, each.finding) for each in reports]
        inferred = [read_inferred(ledger, connection, row) for row in rows]
    return {each.title: found.affected for each, found in zip(reports, inferred, strict=True)}
