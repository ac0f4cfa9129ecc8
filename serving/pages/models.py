"""The page of all models, and the page of each, with the form that acknowledges its alarm."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated, Final
from urllib.parse import urlencode

from anyio import to_thread
from msgspec import Meta, Struct
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from model_store.errors import ModelStoreError
from model_store.store.store import Store
from monitoring.diagnosis.windows import ALL
from monitoring.drift.events import ACKNOWLEDGED
from monitoring.errors import (
    AlarmAcknowledged,
    AuditMissing,
    FormInvalid,
    ModelNotInLedger,
    NoteInvalid,
    QueryInvalid,
    TagNotWatched,
)
from monitoring.http.endpoint import EVERYONE, Parameter, Viewer, read_viewer
from monitoring.http.fields import ID_LIMIT
from monitoring.recording.recorder import Recorder
from monitoring.reports.findings import FindingsReport, seriousness
from monitoring.reports.page_data import PageData
from monitoring.reports.report import ReportSummary
from monitoring.routes import (
    FINDING_REFUSALS,
    OF_FINDING,
    OF_VERSION,
    REPORT_REFUSALS,
    WINDOW,
    WRITE_REFUSALS,
)
from monitoring.routes.alarms import AlarmNote, restart_watch
from monitoring.routes.form import form_reader, read_reason
from monitoring.routes.reports import Production, ReportRoutes
from monitoring.routes.request import BodyReader, read_finding, read_span_of, read_version
from serving.pages.answer_links import answers_address
from serving.pages.endpoints import form, page
from serving.pages.formatting import calendar_day, page_path
from serving.pages.overview import finding_rows, overview_row
from serving.pages.rendering import answer_page, render
from serving.pages.sections import sections

REFRESH_S = 15
_WINDOWS = (
    ("all", "all labels"),
    ("promotion", "since promotion"),
    ("days:30", "30 days"),
    ("last:500", "last 500 labels"),
    ("last:100", "last 100 labels"),
)


class Acting(StrEnum):
    """Whether versions of a model can be acted on from this process: it can, or why not."""

    HERE = "here"
    NO_STORE = "no store"
    NOT_STORED = "not stored"


def model_page(
    data: PageData,
    *,
    serves: bool = False,
    acting: Acting = Acting.HERE,
    viewer: Viewer = EVERYONE,
) -> str:
    """Render the page, which renews itself.

    `serves`: whether this process answers images with the model. `acting`: whether its versions can
        be acted on.
    """
    return render(
        "model.html",
        **sections(data, downloads=True) | {"find": _find(data, viewer)},
        acts=viewer.may("admin"),
        serves=serves,
        windows=_WINDOWS,
        refresh_s=REFRESH_S,
        acting=acting,
        viewer=viewer,
    )


def _find(data: PageData, viewer: Viewer) -> Callable[..., str] | None:
    """How the page finds the answers behind its figures, if the filter of answers can say which."""
    if not viewer.may("feedback") or data.report.window.startswith("last:"):
        return None
    since = "" if data.since_day is None else calendar_day(data.since_day)
    return partial(answers_address, data.report, since=since)


def index_page(
    reports: Sequence[ReportSummary],
    *,
    loaded: Collection[str] = (),
    stored: Collection[str] = (),
    viewer: Viewer = EVERYONE,
) -> str:
    """Render each model, the most serious state first; of its findings, the most serious one.

    On those that are `loaded`, an image can be tried. Versions of those that are `stored` can be
    acted on.
    """
    worst: dict[str, ReportSummary] = {}
    for report in sorted(reports, key=seriousness):
        worst.setdefault(report.model, report)
    rows = [overview_row(report) for report in worst.values()]
    return render(
        "models.html", rows=rows, loaded=loaded, stored=stored, refresh_s=REFRESH_S, viewer=viewer
    )


def findings_page(
    overview: FindingsReport,
    *,
    serves: bool = False,
    acting: Acting = Acting.HERE,
    viewer: Viewer = EVERYONE,
) -> str:
    """Render the findings of a model, as `model_page` renders one of them."""
    return render(
        "findings.html",
        **finding_rows(overview),
        linked=True,
        serves=serves,
        refresh_s=REFRESH_S,
        acting=acting,
        viewer=viewer,
    )


class AcknowledgeForm(Struct, frozen=True):
    """What was found and done about the page's `alarm`; `tag`: whose it is, if any.

    `chosen_labels`: there if the labels were chosen by their outcome.
    """

    note: str
    alarm: str
    tag: str | None = None
    chosen_labels: str | None = None


_FORM = form_reader(AcknowledgeForm)


class ModelPages:
    """The handlers of the pages. `serves`: whether this process answers images with the versions
    that `production` names; `store`: whose versions can be acted on.
    """

    def __init__(
        self,
        reports: ReportRoutes,
        recorder: Recorder,
        bodies: BodyReader,
        production: Production,
        *,
        serves: bool,
        store: Store,
    ) -> None:
        self._reports, self._recorder, self._bodies = reports, recorder, bodies
        self._production, self._serves, self._store = production, serves, store

    async def index(self, request: Request) -> Response:
        """All models at a glance."""
        reports = await to_thread.run_sync(self._reports.all)
        loaded = {each.model for each in reports if self._is_served(each.model)}
        stored = loaded | await to_thread.run_sync(self._stored)
        return answer_page(
            index_page(reports, loaded=loaded, stored=stored, viewer=read_viewer(request))
        )

    async def page(self, request: Request) -> Response:
        """The report as a page."""
        model, version = request.path_params["model"], read_version(request)
        window = request.query_params.get("window", ALL)
        finding, span = read_finding(request), read_span_of(request)
        acting = await to_thread.run_sync(self._acting, model)
        serves, viewer = self._is_served(model), read_viewer(request)
        if finding is None and await to_thread.run_sync(self._reports.has_findings, model, version):
            found = await to_thread.run_sync(self._reports.overview, model, version, window)
            return answer_page(findings_page(found, serves=serves, acting=acting, viewer=viewer))
        data = await to_thread.run_sync(
            self._reports.page_data, model, version, finding, window, span
        )
        return answer_page(model_page(data, serves=serves, acting=acting, viewer=viewer))

    async def acknowledge(self, request: Request) -> Response:
        """Acknowledge an alarm from the form of the model's page, then show that page again."""
        async with self._bodies.parsed(request, _FORM) as fields:
            restarted = await restart_watch(self._recorder, request, _note_of(fields), ACKNOWLEDGED)
        if restarted.unchanged is not None:
            raise AlarmAcknowledged(restarted.unchanged)
        named = {"version": str(restarted.version)}
        if restarted.finding:
            named["finding"] = restarted.finding
        where = f"{page_path(restarted.model)}?{urlencode(named)}"
        return RedirectResponse(where, status_code=303)

    def _is_served(self, model: str) -> bool:
        """Whether this process answers images with the model."""
        return self._serves and self._production(model) is not None

    def _stored(self) -> set[str]:
        """The models of the store; none while it cannot be read."""
        try:
            return set(self._store.models())
        except (ModelStoreError, OSError):
            return set()

    def _acting(self, model: str) -> Acting:
        """Whether versions of the model can be acted on here, and if not, why."""
        stored = self._stored()
        if model in stored or self._is_served(model):
            return Acting.HERE
        return Acting.NOT_STORED if stored else Acting.NO_STORE


def _note_of(fields: Mapping[str, str]) -> AlarmNote:
    """What the form of a page says. Raises FormInvalid if it lacks what every such form has."""
    note, alarm = read_reason(fields, "note", limit=ID_LIMIT), fields.get("alarm", "")
    if not re.fullmatch("[0-9]{1,18}", alarm):
        raise FormInvalid(
            "The form does not say which alarm is meant; open the model's page again, and use its "
            "form."
        )
    chosen = "chosen_labels" in fields
    return AlarmNote(note=note, tag=fields.get("tag"), alarm=int(alarm), chosen_labels=chosen)


SPAN: Final = tuple(
    Parameter(
        name,
        "query",
        Annotated[str, Meta(examples=["2026-10-01"])],
        f"{which} day of charts over time",
    )
    for name, which in (("since", "first"), ("until", "last"))
)
ENDPOINTS: Final = (
    page("/", ModelPages.index, summary="All models at a glance.", refuses=(SQLAlchemyError,)),
    page(
        "/models/{model}/report/page",
        ModelPages.page,
        tag="calibration",
        summary="The report as a page, with a chart day by day and the versions side by side.",
        parameters=(OF_VERSION, OF_FINDING, WINDOW, *SPAN),
        refuses=REPORT_REFUSALS,
    ),
    form(
        "/models/{model}/report/page",
        ModelPages.acknowledge,
        AcknowledgeForm,
        tag="calibration",
        summary="Acknowledge the drift alarm from the form of that page.",
        scope="admin",
        parameters=(OF_VERSION, OF_FINDING),
        refuses=(
            *FINDING_REFUSALS,
            AlarmAcknowledged,
            AuditMissing,
            NoteInvalid,
            ModelNotInLedger,
            QueryInvalid,
            TagNotWatched,
            *WRITE_REFUSALS,
        ),
    ),
)
