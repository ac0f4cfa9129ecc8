"""The drift alarm: POST /models/{model}/report/acknowledge and /reset."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request

from monitoring.drift.events import ACKNOWLEDGED, RESET
from monitoring.errors import NoteInvalid
from monitoring.http.endpoint import read_actor
from monitoring.http.fields import Text, check_storable
from monitoring.http.json_body import JsonReader
from monitoring.http.query import read_query
from monitoring.recording.recorder import Recorder
from monitoring.routes.queries import OfVersion
from monitoring.routes.request import BodyReader

LARGEST_ID = 10**18 - 1


class AlarmNote(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the alarm is acknowledged, or the watch restarted; it is kept in the history.

    `audit`: whether the watch uses audited answers only from now on; by default that stays as it
    is. `chosen_labels`: the labels were chosen by their outcome, so that audited answers alone
    count from now on. `tag`: whose watch, if it is not that of all answers: such as `site=B`, or
    `scope:doubtful` for that of doubtful images, which starts again on the next day.
    `alarm`: the alarm that is acknowledged, named by `alarm_feedback_id` of the report; without it,
    the alarm that is active.
    """

    note: Text | None = None
    audit: bool | None = None
    chosen_labels: bool = False
    tag: Text | None = None
    alarm: Annotated[int, Meta(ge=0, le=LARGEST_ID)] | None = None


class WatchState(Struct, frozen=True):
    """The drift watch: whether its alarm is active, and the labels counted since its start."""

    active: bool
    labels: int


class RestartedWatch(Struct, frozen=True, omit_defaults=True):
    """The version whose watch was restarted; `finding`, `tag`: whose it was, if not that of all.

    `unchanged`: there only if the watch was left as it is; says why, and who acknowledged the alarm
        before.
    """

    model: str
    version: int
    drift: WatchState
    finding: str | None = None
    tag: str | None = None
    unchanged: str | None = None


_NOTES = JsonReader(AlarmNote, NoteInvalid)


class AlarmRoutes:
    def __init__(self, recorder: Recorder, bodies: BodyReader) -> None:
        self._recorder, self._bodies = recorder, bodies

    async def acknowledge(self, request: Request) -> RestartedWatch:
        return await self._restart(request, ACKNOWLEDGED)

    async def reset(self, request: Request) -> RestartedWatch:
        """Restart the watch without an alarm, for example after a planned change."""
        return await self._restart(request, RESET)

    async def _restart(self, request: Request, kind: str) -> RestartedWatch:
        async with self._bodies.parsed(request, _read_note) as asked:
            [restarted] = await restart_watches(self._recorder, request, [asked], kind)
            return restarted


async def restart_watches(
    recorder: Recorder, request: Request, asked: Sequence[AlarmNote], kind: str
) -> list[RestartedWatch]:
    """Acknowledge alarms, or restart watches, of the request's model, version and finding: all, or
    none. They differ in tag and alarm alone.

    Raises NoteInvalid, QueryInvalid, ModelNotInLedger, FindingNeeded, FindingUnknown, TagNotWatched
    or AuditMissing.
    """
    first = asked[0]
    for name, text in (("note", first.note), *(("tag", each.tag) for each in asked)):
        if text is not None:
            check_storable(name, text, refusal=NoteInvalid)
            if not text.strip():
                raise NoteInvalid(
                    f"Field '{name}' holds only spaces; leave it out, or write something."
                )
    of = read_query(request.query_params, OfVersion)
    future = recorder.acknowledge(
        request.path_params["model"],
        of.version,
        finding=of.finding,
        note=first.note,
        actor=read_actor(request),
        kind=kind,
        audit=first.audit,
        chosen_labels=first.chosen_labels,
        named=[(each.alarm, each.tag) for each in asked],
    )
    row, restarts = await asyncio.wrap_future(future)
    return [
        RestartedWatch(
            row.model,
            row.version,
            WatchState(watched.detector.active, watched.detector.labels),
            row.named,
            each.tag,
            unchanged or None,
        )
        for each, (watched, unchanged) in zip(asked, restarts, strict=True)
    ]


def _read_note(body: bytes) -> AlarmNote:
    return _NOTES.read(body) if body else AlarmNote()
