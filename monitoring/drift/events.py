"""The events of a version, in order: replays apply them, and people read them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from monitoring.ledger import version_events
from monitoring.ledger.schema import DAY_NS, EVERYTHING, monitor_event

PROMOTED, SHADOWED = version_events.PROMOTED, version_events.SHADOWED
STARTED, SETTINGS, ALARM = "started", "settings", "alarm"
ACKNOWLEDGED, RESET = "acknowledged", "reset"
SOURCES = "sources"  # the policies of label sources changed, and with them what counts
TAGS = "tags"  # which tags have detectors of their own
ENDED = "ended"  # the detector of a tag that is no longer watched
RECALIBRATING, RECALIBRATED = "recalibrating", "recalibrated"  # no replay applies these
NOTED = "noted"  # what a person has seen or done; no replay applies it
CHECKPOINT = "checkpoint"  # the state of the detector before labels are pruned or erased
AFRESH = (ACKNOWLEDGED, RESET)  # after these the detector starts from nothing


@dataclass(frozen=True)
class Event:
    """One event of a version; `feedback_id` is the last one that the detector had seen.

    `name`: the slice whose detector it is about, by default all answers.
    """

    kind: str
    feedback_id: int
    at_ns: int
    detail: dict[str, Any]
    name: str = EVERYTHING


def record(
    connection: Connection,
    watched_version_id: int,
    kind: str,
    detail: dict[str, Any],
    *,
    feedback_id: int,
    now_ns: int,
    name: str = EVERYTHING,
) -> None:
    values = {
        "watched_version_id": watched_version_id,
        "slice": name,
        "kind": kind,
        "at_ns": now_ns,
        "detail": json.dumps(detail),
        "feedback_id": feedback_id,
    }
    connection.execute(insert(monitor_event).values(values))


def read(connection: Connection, watched_version_id: int, name: str = EVERYTHING) -> list[Event]:
    """Return the events of a slice of a version, by default of all answers, oldest first."""
    return _read(connection, watched_version_id=watched_version_id, slice=name)


def read_all(connection: Connection, watched_version_id: int) -> list[Event]:
    """Return the events of a version and of its tags, oldest first."""
    return _read(connection, watched_version_id=watched_version_id)


def _read(connection: Connection, **which: Any) -> list[Event]:
    wanted = select(monitor_event).filter_by(**which).order_by(monitor_event.c.event_id)
    return [
        Event(row.kind, row.feedback_id, row.at_ns, json.loads(row.detail), row.slice)
        for row in connection.execute(wanted)
    ]


def latest(history: Sequence[Event], kind: str) -> Event | None:
    return next((event for event in reversed(history) if event.kind == kind), None)


def begun_on(history: Sequence[Event], *names: str) -> int:
    """Return the day after the last restart of these slices, in days since 1970; 0 without any."""
    ended = (
        event.at_ns // DAY_NS for event in history if event.kind in AFRESH and event.name in names
    )
    return max(ended, default=-1) + 1


def since_alarm(history: Sequence[Event], *kinds: str) -> list[Event]:
    """Return the events of these kinds since the last alarm, oldest first; all without an alarm."""
    raised = [position for position, event in enumerate(history) if event.kind == ALARM]
    return [event for event in history[raised[-1] if raised else 0 :] if event.kind in kinds]
