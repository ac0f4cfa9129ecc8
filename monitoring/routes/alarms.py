"""The drift alarm: POST /models/{model}/report/acknowledge and /reset."""

import asyncio
import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitoring.api.fields import ID_LIMIT, Text
from monitoring.api.json_body import JsonReader
from monitoring.api.viewer import read_actor
from monitoring.drift.events import ACKNOWLEDGED, RESET
from monitoring.errors import AlarmAcknowledged, FormInvalid, NoteInvalid
from monitoring.feedback.body import check_storable
from monitoring.pages.formatting import page_path
from monitoring.recording.recorder import Recorder
from monitoring.routes.form import form_reader, read_reason
from monitoring.routes.request import BodyReader, read_version

_LARGEST_ID = 10**18 - 1


class AlarmNote(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the alarm is acknowledged, or the watch restarted; it is kept in the history.

    `audit`: whether the watch uses audited answers only from now on; by default that stays as it
    is. `tag`: whose watch, such as `site=B`, if it is not that of all answers. `alarm`: the alarm
    that is acknowledged, named by `alarm_feedback_id` of the report; without it, the alarm that is
    active.
    """

    note: Text | None = None
    audit: bool | None = None
    tag: Text | None = None
    alarm: Annotated[int, Meta(ge=0, le=_LARGEST_ID)] | None = None


class WatchState(Struct, frozen=True):
    """The drift watch: whether its alarm is active, and how many labels it has counted since it
    started.
    """

    active: bool
    labels: int


class RestartedWatch(Struct, frozen=True, omit_defaults=True):
    """The version whose watch was restarted; `tag`, if it was that of a tag.

    `unchanged`: there only if the watch was left as it is; says why, and who acknowledged the alarm
        before.
    """

    model: str
    version: int
    drift: WatchState
    tag: str | None = None
    unchanged: str | None = None


class AcknowledgeForm(Struct, frozen=True):
    """What was found and done; `alarm`: the alarm that the page showed; `tag`: whose it is, if not
    of all answers.
    """

    note: str
    alarm: str
    tag: str | None = None


_NOTES = JsonReader(AlarmNote, NoteInvalid)
_FORM = form_reader(AcknowledgeForm)


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
        async with self._bodies.parsed(request, _FORM) as fields:
            restarted = await self._record(request, _note_of(fields), ACKNOWLEDGED)
        if restarted.unchanged is not None:
            raise AlarmAcknowledged(restarted.unchanged)
        return RedirectResponse(
            f"{page_path(restarted.model)}?version={restarted.version}", status_code=303
        )

    async def _restart(self, request: Request, kind: str) -> RestartedWatch:
        async with self._bodies.parsed(request, _read_note) as asked:
            return await self._record(request, asked, kind)

    async def _record(self, request: Request, asked: AlarmNote, kind: str) -> RestartedWatch:
        for name, text in (("note", asked.note), ("tag", asked.tag)):
            if text is not None:
                check_storable(name, text, refusal=NoteInvalid)
                if not text.strip():
                    raise NoteInvalid(
                        f"Field '{name}' holds only spaces; leave it out, or write something."
                    )
        model, version = request.path_params["model"], read_version(request)
        future = self._recorder.acknowledge(
            model,
            version,
            note=asked.note,
            actor=read_actor(request),
            kind=kind,
            audit=asked.audit,
            tag=asked.tag,
            alarm=asked.alarm,
        )
        row, (watched, unchanged) = await asyncio.wrap_future(future)
        state = WatchState(watched.detector.active, watched.detector.labels)
        return RestartedWatch(row.model, row.version, state, asked.tag, unchanged or None)


def _note_of(fields: Mapping[str, str]) -> AlarmNote:
    """What the form of a page says. Raises FormInvalid if it lacks what every such form has."""
    note, alarm = read_reason(fields, "note", limit=ID_LIMIT), fields.get("alarm", "")
    if not re.fullmatch("[0-9]{1,18}", alarm):
        raise FormInvalid(
            "The form does not say which alarm is meant; open the model's page again, and use its "
            "form."
        )
    return AlarmNote(note=note, tag=fields.get("tag"), alarm=int(alarm))


def _read_note(body: bytes) -> AlarmNote:
    return _NOTES.read(body) if body else AlarmNote()
