"""The page of a model: its overview, its slices, its report, and the forms that acknowledge an
alarm and add a note.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlencode

from anyio import to_thread
from msgspec import DecodeError, Meta
from msgspec.json import Decoder
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from console.endpoints import form, form_reader, page, read_reason
from console.formatting import page_path, slices_path
from console.model_views import PageFrame, filed_page, findings_page, model_page, slices_page
from console.rendering import FILE_HEADERS, answer_page
from console.report_document import report_page
from console.tabs import Tabs
from console.todo import Acting
from monitoring.drift.events import ACKNOWLEDGED
from monitoring.errors import AlarmAcknowledged, FormInvalid
from monitoring.http.endpoint import Viewer, read_actor, read_viewer
from monitoring.http.fields import ID_LIMIT, Text
from monitoring.http.query import read_query
from monitoring.ledger.watched_version import query_of
from monitoring.recording.recorder import Recorder
from monitoring.reports.findings import FindingsReport
from monitoring.reports.page_data import PageData, read_span
from monitoring.routes.alarms import LARGEST_ID, AlarmNote, restart_watches
from monitoring.routes.queries import OfVersion, ReportQuery, WindowQuery
from monitoring.routes.reports import Production, ReportRoutes
from monitoring.routes.request import BodyReader

_ACKNOWLEDGE_FORM = form_reader("note", "alarms", "chosen_labels")
_NOTE_FORM = form_reader("note")
_Done: TypeAlias = Literal["", "acknowledged", "noted"]
_Page = TypeVar("_Page")
_NAMED: TypeAlias = tuple[Annotated[int, Meta(ge=0, le=LARGEST_ID)], Text | None]
_ALARMS: Final = Decoder(Annotated[list[_NAMED], Meta(min_length=1)])


class OverviewQuery(ReportQuery, frozen=True, kw_only=True):
    """`since`, `until`: the days of the charts over time; `done`: by the form of the page."""

    since: str | None = None
    until: str | None = None
    done: _Done = ""


class SlicesQuery(WindowQuery, frozen=True, kw_only=True):
    """`done`: by a form of the page."""

    done: _Done = ""


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

        def rendered(found: PageData | FindingsReport, frame: PageFrame) -> str:
            if isinstance(found, PageData):
                return model_page(found, frame, unfolded=unfolded)
            return findings_page(found, frame, self._reports.days_of(found.findings))

        unfolded = any(request.query_params.get(name) for name in ("window", "since", "until"))
        return answer_page(await self._read(request, rendered))

    async def slices(self, request: Request) -> Response:
        """The figures by class and tag; of findings, to those of the most serious one."""

        def rendered(found: PageData | FindingsReport, frame: PageFrame) -> Response:
            if isinstance(found, PageData):
                return answer_page(slices_page(found, frame))
            asked = {**request.query_params, "finding": found.findings[0].finding}
            return RedirectResponse(f"{slices_path(found.model)}?{urlencode(asked)}", 303)

        return await self._read(request, rendered)

    async def report(self, request: Request) -> Response:
        return answer_page(await self._read(request, filed_page))

    async def report_file(self, request: Request) -> Response:
        """The report as a file, which can do nothing where a browser shows it."""

        def rendered(found: PageData | FindingsReport, frame: PageFrame) -> tuple[str, str]:
            title = found.report.title if isinstance(found, PageData) else found.model
            return title, report_page(found, opened_by=frame.viewer.name)

        title, page = await self._read(request, rendered)
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", title)
        named = {"content-disposition": f'attachment; filename="{name}-report.html"'}
        return HTMLResponse(page, headers=FILE_HEADERS | named)

    async def acknowledge(self, request: Request) -> Response:
        """Acknowledge alarms from a form of the overview or of slices, and show that page again."""
        async with self._bodies.parsed(request, _ACKNOWLEDGE_FORM) as fields:
            notes = _notes_of(fields)
            done = await restart_watches(self._recorder, request, notes, ACKNOWLEDGED)
        first = done[0]
        if first.unchanged is not None and all(each.unchanged for each in done):
            raise AlarmAcknowledged(first.unchanged)
        asked = query_of(first.version, first.finding) | {"done": "acknowledged"}
        return RedirectResponse(f"{request.url.path}?{urlencode(asked)}", status_code=303)

    async def note(self, request: Request) -> Response:
        async with self._bodies.parsed(request, _NOTE_FORM) as fields:
            text = read_reason(fields, "note", limit=ID_LIMIT)
        of = read_query(request.query_params, OfVersion)
        noted = self._recorder.note(
            request.path_params["model"],
            of.version,
            finding=of.finding,
            text=text,
            actor=read_actor(request),
        )
        row = await asyncio.wrap_future(noted)
        asked = query_of(row.version, row.finding) | {"done": "noted"}
        return RedirectResponse(f"{page_path(row.model)}?{urlencode(asked)}", status_code=303)

    async def _read(
        self, request: Request, rendered: Callable[[PageData | FindingsReport, PageFrame], _Page]
    ) -> _Page:
        """What `rendered` makes of what the page is about, in a thread."""
        model, viewer = request.path_params["model"], read_viewer(request)
        asked = read_query(request.query_params, OverviewQuery)
        span, reports = read_span(asked.since, asked.until), self._reports

        def read() -> _Page:
            is_of_one = reports.is_of_one(model, asked)
            found = (
                reports.page_data(model, asked, span)
                if is_of_one
                else reports.overview(model, asked)
            )
            return rendered(found, self._frame(model, viewer, asked.done))

        return await to_thread.run_sync(read)

    def _frame(self, model: str, viewer: Viewer, done: str) -> PageFrame:
        stored = self._tabs.stored()
        acting = Acting.NOT_STORED if stored else Acting.NO_STORE
        if model in stored or self._tabs.tries(model):
            acting = Acting.HERE
        return PageFrame(self._tabs, viewer, acting, self._production(model), done)


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


ENDPOINTS: Final = (
    page("/models/{model}/report/page", ModelPages.page, query=OverviewQuery, scope="read"),
    page("/slices/{model}", ModelPages.slices, query=SlicesQuery, scope="read"),
    page("/report/{model}", ModelPages.report, query=WindowQuery, scope="read"),
    page("/report/{model}/file", ModelPages.report_file, query=WindowQuery, scope="read"),
    form("/models/{model}/report/page", ModelPages.acknowledge, query=OfVersion, scope="admin"),
    form("/slices/{model}", ModelPages.acknowledge, query=OfVersion, scope="admin"),
    form("/note/{model}", ModelPages.note, query=OfVersion, scope="feedback"),
)
