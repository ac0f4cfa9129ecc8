"""The page of a model: its overview, its slices, its report, and the forms that acknowledge an
alarm and add a note.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlencode

from anyio import to_thread
from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitoring.diagnosis.coverage import ALL
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
from monitoring.http.endpoint import Parameter, Viewer, read_actor, read_viewer
from monitoring.http.fields import ID_LIMIT, Text
from monitoring.ledger.watched_version import query_of
from monitoring.recording.recorder import Recorder
from monitoring.reports.span import WHOLE
from monitoring.routes import (
    FINDING_REFUSALS,
    GAP,
    OF_FINDING,
    OF_VERSION,
    REPORT_REFUSALS,
    WINDOW,
    WRITE_REFUSALS,
)
from monitoring.routes.alarms import LARGEST_ID, AlarmNote, restart_watches
from monitoring.routes.form import form_reader, read_reason
from monitoring.routes.reports import Production, ReportRoutes
from monitoring.routes.request import (
    BodyReader,
    read_finding,
    read_gap,
    read_span_of,
    read_version,
)
from serving.pages.endpoints import form, page
from serving.pages.files import attached, safe_name
from serving.pages.formatting import page_path
from serving.pages.model_views import EveryPages, OnePages, PageFrame
from serving.pages.rendering import answer_page, render
from serving.pages.tabs import Tabs
from serving.pages.todo import Acting


class AcknowledgeForm(Struct, frozen=True):
    """What was found and done about the page's `alarms`: JSON, of each its number and its tag.

    `chosen_labels`: there if the labels were chosen by their outcome.
    """

    note: str
    alarms: str
    chosen_labels: str | None = None


class NoteForm(Struct, frozen=True):
    """What somebody has seen or done."""

    note: str


_ACKNOWLEDGE_FORM = form_reader(AcknowledgeForm)
_NOTE_FORM = form_reader(NoteForm)
_NAMED: TypeAlias = tuple[Annotated[int, Meta(ge=0, le=LARGEST_ID)], Text | None]
_ALARMS: Final = Decoder(Annotated[list[_NAMED], Meta(min_length=1)])


class ModelPages:
    """The handlers of the pages. `production` names the version that a page is about."""

    def __init__(
        self,
        reports: ReportRoutes,
        recorder: Recorder,
        bodies: BodyReader,
        production: Production,
        tabs: Tabs,
    ) -> None:
        self._reports, self._recorder, self._bodies = reports, recorder, bodies
        self._production, self._tabs = production, tabs

    async def page(self, request: Request) -> Response:
        """The overview, of a model with findings their table."""
        unfolded = "window" in request.query_params or read_span_of(request) != WHOLE
        return answer_page((await self._read(request)).page(unfolded=unfolded))

    async def slices(self, request: Request) -> Response:
        """The figures by class and tag; of findings, to those of the most serious one."""
        return (await self._read(request)).slices(request.query_params)

    async def report(self, request: Request) -> Response:
        """The report, to be printed or filed."""
        found = await self._read(request)
        return answer_page(
            render("filed.html", **found.report(), opened_by=found.frame.viewer.name)
        )

    async def report_file(self, request: Request) -> Response:
        found = await self._read(request)
        name = f"{safe_name(found.title)}-report.html"
        return attached(name, found.file(), "text/html; charset=utf-8")

    async def acknowledge(self, request: Request) -> Response:
        """Acknowledge alarms from the form of a model's page, then show the overview again."""
        async with self._bodies.parsed(request, _ACKNOWLEDGE_FORM) as fields:
            notes = _notes_of(fields)
            done = await restart_watches(self._recorder, request, notes, ACKNOWLEDGED)
        first = done[0]
        if first.unchanged is not None and all(each.unchanged for each in done):
            raise AlarmAcknowledged(first.unchanged)
        return _back(first.model, first.version, first.finding)

    async def note(self, request: Request) -> Response:
        """Add a note to the history from the form of the model's page."""
        async with self._bodies.parsed(request, _NOTE_FORM) as fields:
            text = read_reason(fields, "note", limit=ID_LIMIT)
        noted = self._recorder.note(
            request.path_params["model"],
            read_version(request),
            finding=read_finding(request),
            text=text,
            actor=read_actor(request),
        )
        row = await asyncio.wrap_future(noted)
        return _back(row.model, row.version, row.finding)

    async def _read(self, request: Request) -> OnePages | EveryPages:
        """The pages that a query asks for."""
        model, version = request.path_params["model"], read_version(request)
        window = request.query_params.get("window", ALL)
        finding, span, gap = read_finding(request), read_span_of(request), read_gap(request)
        frame = await to_thread.run_sync(self._frame, model, read_viewer(request))
        reports = self._reports

        def one() -> OnePages:
            data = reports.page_data(model, version, finding, window, span, gap)
            return OnePages(data, frame)

        def every() -> EveryPages:
            return EveryPages(reports.overview(model, version, window), frame)

        read = partial(reports.of_one_or_all, model, version, finding, one=one, every=every)
        return await to_thread.run_sync(read)

    def _frame(self, model: str, viewer: Viewer) -> PageFrame:
        stored = self._tabs.stored()
        acting = Acting.NOT_STORED if stored else Acting.NO_STORE
        if model in stored or self._tabs.tries(model):
            acting = Acting.HERE
        return PageFrame(self._tabs, viewer, acting, self._production(model))


def _back(model: str, version: int, finding: str | None) -> Response:
    where = f"{page_path(model)}?{urlencode(query_of(version, finding))}"
    return RedirectResponse(where, status_code=303)


def _notes_of(fields: Mapping[str, str]) -> list[AlarmNote]:
    """What the form of a page says. Raises FormInvalid if it lacks what every such form has."""
    note, chosen = read_reason(fields, "note", limit=ID_LIMIT), "chosen_labels" in fields
    try:
        alarms = _ALARMS.decode(fields.get("alarms", ""))
    except DecodeError:
        raise FormInvalid(
            "The form does not say which alarm is meant; open the model's page again, and use its "
            "form."
        ) from None
    return [
        AlarmNote(note=note, tag=tag, alarm=alarm, chosen_labels=chosen) for alarm, tag in alarms
    ]


_DAY: TypeAlias = Annotated[str, Meta(examples=["2026-10-01"])]
SPAN: Final = tuple(
    Parameter(name, "query", _DAY, f"{which} day of charts over time")
    for name, which in (("since", "first"), ("until", "last"))
)
_OF: Final = (OF_VERSION, OF_FINDING)
_WRITTEN: Final = (*FINDING_REFUSALS, ModelNotInLedger, QueryInvalid, *WRITE_REFUSALS)
_page = partial(page, tag="calibration", refuses=REPORT_REFUSALS)
ENDPOINTS: Final = (
    _page(
        "/models/{model}/report/page",
        ModelPages.page,
        summary="A model's state: who is affected, since when, and what to do.",
        parameters=(*_OF, WINDOW, *SPAN, GAP),
    ),
    _page(
        "/slices/{model}",
        ModelPages.slices,
        summary="A page with a model's figures by class and tag.",
        parameters=(*_OF, WINDOW),
    ),
    _page(
        "/report/{model}",
        ModelPages.report,
        summary="A report of two pages, to be printed or filed.",
        parameters=(*_OF, WINDOW),
    ),
    _page(
        "/report/{model}/file",
        ModelPages.report_file,
        summary="The same report as one file.",
        parameters=(*_OF, WINDOW),
    ),
    form(
        "/models/{model}/report/page",
        ModelPages.acknowledge,
        AcknowledgeForm,
        tag="calibration",
        summary="Acknowledge drift alarms from the form of that page.",
        scope="admin",
        parameters=_OF,
        refuses=(*_WRITTEN, AlarmAcknowledged, AuditMissing, NoteInvalid, TagNotWatched),
    ),
    form(
        "/note/{model}",
        ModelPages.note,
        NoteForm,
        tag="calibration",
        summary="Add a note to a model's history, from the form of its page.",
        scope="feedback",
        parameters=_OF,
        refuses=_WRITTEN,
    ),
)
