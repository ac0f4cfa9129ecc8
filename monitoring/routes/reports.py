"""Reports on the models of the ledger, as JSON, and the data of their pages."""

from collections.abc import Callable, Sequence

from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request

from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import Days
from monitoring.reports.every_model import EveryModel, read_days_of
from monitoring.reports.findings import FindingsReport, findings_report, is_of_one
from monitoring.reports.page_data import PageData, read_page_data
from monitoring.reports.report import Report, ReportSummary, calibration_report
from monitoring.reports.slices import Slice, Slices
from monitoring.reports.timeline import VersionedEntry, read_timeline
from monitoring.routes.request import ReportQuery, read_finding, read_report_query, read_version

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
    def __init__(self, ledger: Ledger, production: Production) -> None:
        self._ledger, self._production = ledger, production
        self.every = EveryModel(ledger, production, self._in_production)

    async def report(self, request: Request) -> Report | FindingsReport:
        return await to_thread.run_sync(self._read, read_report_query(request))

    async def slices(self, request: Request) -> SlicesOfModel:
        found = await to_thread.run_sync(self._one, read_report_query(request))
        slices = found.slices or Slices((), ())
        return SlicesOfModel(
            found.model, found.version, found.window, slices.known, slices.by_true_class
        )

    async def history(self, request: Request) -> History:
        model, version = request.path_params["model"], read_version(request)
        finding = read_finding(request)
        return History(model, await to_thread.run_sync(self._history, model, version, finding))

    async def summaries(self, _: Request) -> Summaries:
        found = await to_thread.run_sync(self.every.read)
        return Summaries(found.reports, found.idle)

    def _read(self, query: ReportQuery) -> Report | FindingsReport:
        return self._one(query) if self.is_of_one(query) else self.overview(query)

    def _one(self, query: ReportQuery) -> Report:
        return calibration_report(
            self._ledger,
            query.model,
            version=self._chosen(query),
            finding=query.finding,
            window=query.window,
            gap=query.gap,
        )

    def page_data(self, query: ReportQuery) -> PageData:
        return read_page_data(
            self._ledger,
            query.model,
            version=self._chosen(query),
            finding=query.finding,
            window=query.window,
            span=query.span,
            gap=query.gap,
        )

    def is_of_one(self, query: ReportQuery) -> bool:
        """As the function of this name; without a version, of the one in production."""
        return is_of_one(self._ledger, query.model, self._chosen(query), query.finding)

    def overview(self, query: ReportQuery) -> FindingsReport:
        return findings_report(
            self._ledger, query.model, version=self._chosen(query), window=query.window
        )

    def _history(
        self, model: str, version: int | None, finding: str | None
    ) -> list[VersionedEntry]:
        with self._ledger.read() as connection:
            return read_timeline(connection, model, version=version, finding=finding)

    def days_of(self, reports: Sequence[ReportSummary]) -> dict[str, tuple[Days, ...]]:
        return read_days_of(self._ledger, reports)

    def _chosen(self, query: ReportQuery) -> int | None:
        return self._in_production(query.model) if query.version is None else query.version

    def _in_production(self, model: str) -> int | None:
        """The production version, if the ledger has it."""
        with self._ledger.read() as connection:
            known = {row.version for row in versions.of_model(connection, model)}
        version = self._production(model) if known else None
        return version if version in known else None
