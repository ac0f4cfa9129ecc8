"""Reports on the models of the ledger, as JSON, and the data of their pages."""

from collections.abc import Callable, Sequence

from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request

from monitoring.http.query import read_query
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import Days
from monitoring.reports.every_model import EveryModel, read_days_of
from monitoring.reports.findings import FindingsReport, findings_report, is_of_one
from monitoring.reports.page_data import PageData, Span, read_page_data
from monitoring.reports.report import Report, ReportSummary, calibration_report
from monitoring.reports.slices import Slice, Slices
from monitoring.reports.timeline import VersionedEntry, read_timeline
from monitoring.routes.queries import HistoryQuery, OfVersion, ReportQuery, WindowQuery

Production = Callable[[str], int | None]


class SlicesOfModel(Struct, frozen=True):
    """Calibration by slice. `known`: the largest sure gap first."""

    model: str
    version: int
    window: str
    known: tuple[Slice, ...]
    by_true_class: tuple[Slice, ...]


class History(Struct, frozen=True):
    """The events of a model, newest last."""

    model: str
    events: list[VersionedEntry]


class Summaries(Struct, frozen=True):
    """Every model's report without its bins, slices and history; `idle`: declared models that have
    no answers yet, and no report here.
    """

    models: Sequence[ReportSummary]
    idle: Sequence[str]


class ReportRoutes:
    def __init__(self, ledger: Ledger, production: Production, served: Production) -> None:
        self._ledger, self._production = ledger, production
        self.every = EveryModel(ledger, served, self._in_production)

    async def report(self, request: Request) -> Report | FindingsReport:
        asked = read_query(request.query_params, ReportQuery)
        return await to_thread.run_sync(self._read, request.path_params["model"], asked)

    async def slices(self, request: Request) -> SlicesOfModel:
        asked = read_query(request.query_params, WindowQuery)
        found = await to_thread.run_sync(self._one, request.path_params["model"], asked)
        slices = found.slices or Slices((), ())
        return SlicesOfModel(
            found.model, found.version, found.window, slices.known, slices.by_true_class
        )

    async def history(self, request: Request) -> History:
        model, asked = request.path_params["model"], read_query(request.query_params, HistoryQuery)
        return History(model, await to_thread.run_sync(self._history, model, asked))

    async def summaries(self, _: Request) -> Summaries:
        found = await to_thread.run_sync(self.every.read)
        return Summaries(found.reports, found.idle)

    def _read(self, model: str, asked: ReportQuery) -> Report | FindingsReport:
        if self.is_of_one(model, asked):
            return self._one(model, asked, gap=asked.gap)
        return self.overview(model, asked)

    def _one(self, model: str, asked: WindowQuery, *, gap: float | None = None) -> Report:
        return calibration_report(
            self._ledger,
            model,
            version=self._chosen(model, asked),
            finding=asked.finding,
            window=asked.window,
            gap=gap,
        )

    def page_data(self, model: str, asked: ReportQuery, span: Span) -> PageData:
        return read_page_data(
            self._ledger,
            model,
            version=self._chosen(model, asked),
            finding=asked.finding,
            window=asked.window,
            span=span,
            gap=asked.gap,
        )

    def is_of_one(self, model: str, asked: OfVersion) -> bool:
        """As the function of this name; without a version, of the one in production."""
        return is_of_one(self._ledger, model, self._chosen(model, asked), asked.finding)

    def overview(self, model: str, asked: WindowQuery) -> FindingsReport:
        version = self._chosen(model, asked)
        return findings_report(self._ledger, model, version=version, window=asked.window)

    def _history(self, model: str, asked: HistoryQuery) -> list[VersionedEntry]:
        with self._ledger.read() as connection:
            return read_timeline(connection, model, version=asked.version, finding=asked.finding)

    def days_of(self, reports: Sequence[ReportSummary]) -> dict[str, tuple[Days, ...]]:
        return read_days_of(self._ledger, reports)

    def _chosen(self, model: str, asked: OfVersion) -> int | None:
        return self._in_production(model) if asked.version is None else asked.version

    def _in_production(self, model: str) -> int | None:
        """The production version, if the ledger has it."""
        with self._ledger.read() as connection:
            known = {row.version for row in versions.of_model(connection, model)}
        version = self._production(model) if known else None
        return version if version in known else None
