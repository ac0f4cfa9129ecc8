"""The drift alarm: POST /calibration/{model}/acknowledge and /reset."""

import asyncio

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitoring.api.fields import ID_LIMIT, Text
from monitoring.api.json_body import JsonReader
from monitoring.api.viewer import read_actor
from monitoring.drift.events import ACKNOWLEDGED, RESET
from monitoring.errors import NoteInvalid
from monitoring.feedback.body import check_storable
from monitoring.pages.formatting import page_path
from monitoring.recording.recorder import Recorder
from monitoring.routes.form import read_form, read_reason
from monitoring.routes.request import BodyReader, read_version


class AlarmNote(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the alarm is acknowledged, or the watch restarted; it is kept in the history.

    `audit`: whether the watch uses audited answers only from now on; by default that stays as it is. `tag`: whose
    watch, such as `site=B`, if it is not that of all answers.
    """

    note: Text | None = None
    audit: bool | None = None
    tag: Text | None = None


class WatchState(Struct, frozen=True):
    """The drift watch: whether its alarm is active, and how many labels it has counted since it started."""

    active: bool
    labels: int


class RestartedWatch(Struct, frozen=True, omit_defaults=True):
    """The version whose watch was restarted; `tag`, if it was that of a tag."""

    model: str
    version: int
    drift: WatchState
    tag: str | None = None


class AcknowledgeForm(Struct, frozen=True):
    """What was found and done; `tag`: whose alarm, if not that of all answers."""

    note: str
    tag: str | None = None


_NOTES = JsonReader(AlarmNote, NoteInvalid)


class AlarmRoutes:
    """Handlers that restart the drift watch."""

    def __init__(self, recorder: Recorder, bodies: BodyReader) -> None:
        self._recorder, self._bodies = recorder, bodies

    async def acknowledge(self, request: Request) -> RestartedWatch:
        """Acknowledge an alarm."""
        return await self._restart(request, ACKNOWLEDGED)

    async def reset(self, request: Request) -> RestartedWatch:
        """Restart the watch without an alarm, for example after a planned change."""
        return await self._restart(request, RESET)

    async def by_form(self, request: Request) -> Response:
        """Acknowledge an alarm from the form of the model's page, then show that page again."""
        async with self._bodies.parsed(request, read_form) as fields:
            asked = AlarmNote(note=read_reason(fields, "note", limit=ID_LIMIT), tag=fields.get("tag"))
            restarted = await self._record(request, asked, ACKNOWLEDGED)
        return RedirectResponse(f"{page_path(restarted.model)}?version={restarted.version}", status_code=303)

    async def _restart(self, request: Request, kind: str) -> RestartedWatch:
        async with self._bodies.parsed(request, _read_note) as asked:
            return await self._record(request, asked, kind)

    async def _record(self, request: Request, asked: AlarmNote, kind: str) -> RestartedWatch:
        for name, text in (("note", asked.note), ("tag", asked.tag)):
            if text is not None:
                check_storable(name, text, refusal=NoteInvalid)
                if not text.strip():
                    raise NoteInvalid(f"Field '{name}' holds only spaces; leave it out, or write something.")
        model, version = request.path_params["model"], read_version(request)
        future = self._recorder.acknowledge(
            model,
            version,
            note=asked.note,
            actor=read_actor(request),
            kind=kind,
            audit=asked.audit,
            tag=asked.tag,
        )
        row, watched = await asyncio.wrap_future(future)
        state = WatchState(watched.detector.active, watched.detector.labels)
        return RestartedWatch(row.model, row.version, state, asked.tag)


def _read_note(body: bytes) -> AlarmNote:
    return _NOTES.read(body) if body else AlarmNote()
