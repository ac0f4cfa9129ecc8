"""Reports on the models of the ledger, as JSON, and the data of their pages."""

from collections.abc import Callable, Sequence
from functools import partial

from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request

from monitoring.diagnosis.coverage import ALL
from monitoring.diagnosis.reading import read_inferred
from monitoring.drift.course import CourseReader
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import Days
from monitoring.reports.findings import Every, FindingsReport, One, findings_report, of_one_or_all
from monitoring.reports.page_data import PageData, read_page_data
from monitoring.reports.report import Report, ReportSummary, calibration_report
from monitoring.reports.slices import Slice, Slices
from monitoring.reports.span import Span
from monitoring.reports.timeline import VersionedEntry, read_timeline
from monitoring.routes.request import read_finding, read_gap, read_version

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
    """Every model's report without its bins, slices and history."""

    models: list[ReportSummary]


class ReportRoutes:
    """The handlers of reports."""

    def __init__(self, ledger: Ledger, production: Production) -> None:
        self._ledger, self._production = ledger, production
        self._courses = CourseReader()

    async def report(self, request: Request) -> Report | FindingsReport:
        """One model's report, or, of a model with findings, that of one or of all."""
        model, version = request.path_params["model"], read_version(request)
        window = request.query_params.get("window", ALL)
        finding, gap = read_finding(request), read_gap(request)
        one = partial(self._one, model, version, finding, window, gap)
        every = partial(self.overview, model, version, window)
        read = partial(self.of_one_or_all, model, version, finding, one=one, every=every)
        return await to_thread.run_sync(read)

    async def slices(self, request: Request) -> SlicesOfModel:
        """The slices of the report, worst first."""
        found = await self._of(request)
        slices = found.slices or Slices((), ())
        return SlicesOfModel(
            found.model, found.version, found.window, slices.known, slices.by_true_class
        )

    async def history(self, request: Request) -> History:
        """What happened to a model, all versions or one, newest last."""
        model, version = request.path_params["model"], read_version(request)
        finding = read_finding(request)
        return History(model, await to_thread.run_sync(self._history, model, version, finding))

    async def summaries(self, request: Request) -> Summaries:
        """Every model's report, or that of each finding, without its bins, slices and history."""
        return Summaries(await to_thread.run_sync(self.all))

    async def _of(self, request: Request) -> Report:
        model, version = request.path_params["model"], read_version(request)
        window = request.query_params.get("window", ALL)
        finding, gap = read_finding(request), read_gap(request)
        return await to_thread.run_sync(self._one, model, version, finding, window, gap)

    def _one(
        self,
        model: str,
        version: int | None,
        finding: str | None,
        window: str,
        gap: float | None,
    ) -> Report:
        chosen = self._chosen(model, version)
        return calibration_report(
            self._ledger, model, version=chosen, finding=finding, window=window, gap=gap
        )

    def page_data(
        self,
        model: str,
        version: int | None,
        finding: str | None,
        window: str,
        span: Span,
        gap: float | None = None,
    ) -> PageData:
        """The data of a page; without a version, of the one in production."""
        return read_page_data(
            self._ledger,
            model,
            version=self._chosen(model, version),
            finding=finding,
            window=window,
            span=span,
            courses=self._courses,
            gap=gap,
        )

    def of_one_or_all(
        self,
        model: str,
        version: int | None,
        finding: str | None,
        *,
        one: Callable[[], One],
        every: Callable[[], Every],
    ) -> One | Every:
        """As the function of this name; without a version, of the one in production."""
        chosen = self._chosen(model, version)
        return of_one_or_all(self._ledger, model, chosen, finding, one=one, every=every)

    def overview(self, model: str, version: int | None, window: str) -> FindingsReport:
        """The findings of a model, the worst first."""
        return findings_report(
            self._ledger, model, version=self._chosen(model, version), window=window
        )

    def _history(
        self, model: str, version: int | None, finding: str | None
    ) -> list[VersionedEntry]:
        with self._ledger.read() as connection:
            return read_timeline(connection, model, version=version, finding=finding)

    def all(self) -> list[ReportSummary]:
        """The report of each model's production version, or of its findings, without slices."""
        with self._ledger.read() as connection:
            models = versions.models(connection)
        return [
            each
            for model in models
            for each in findings_report(
                self._ledger, model, version=self._in_production(model), window=ALL
            ).findings
        ]

    def gaps(self, reports: Sequence[ReportSummary]) -> dict[str, tuple[Days, ...]]:
        """The days of the answers that each diagnosis is about, by the title of the report."""
        with self._ledger.read() as connection:
            rows = {
                each.title: versions.choose(connection, each.model, each.version, each.finding)
                for each in reports
            }
            return {
                title: read_inferred(self._ledger, connection, row).affected
                for title, row in rows.items()
            }

    def _chosen(self, model: str, version: int | None) -> int | None:
        return self._in_production(model) if version is None else version

    def _in_production(self, model: str) -> int | None:
        """The production version, if the ledger has it."""
        with self._ledger.read() as connection:
            known = {row.version for row in versions.of_model(connection, model)}
        version = self._production(model) if known else None
        return version if version in known else None
