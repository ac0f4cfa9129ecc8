"""The active alarms of the watch, of all answers and of tags."""

import math
from collections.abc import Sequence

from sqlalchemy import Connection

from monitoring.diagnosis.facts import Alarm
from monitoring.drift import events, watch
from monitoring.drift.acknowledgment import raised_by
from monitoring.drift.tag_settings import tag_of
from monitoring.drift.watch import Watched
from monitoring.ledger.schema import EVERYTHING


def active_alarms(
    connection: Connection, watched_version_id: int, history: Sequence[events.Event]
) -> tuple[Alarm, ...]:
    """Return the active alarms, that of all answers first; `history`: with events of tags."""
    saved = watch.load_all(connection, watched_version_id)
    return tuple(_alarm(each, history) for each in saved if each.detector.active)


def _alarm(watched: Watched, history: Sequence[events.Event]) -> Alarm:
    own = [event for event in history if event.name == watched.name]
    raised = events.latest(own, events.ALARM)
    return Alarm(
        tag=None if watched.name == EVERYTHING else tag_of(watched.name),
        direction=watched.detector.direction or "over",
        raised_s=raised.at_ns / 1e9 if raised else math.nan,
        feedback_id=raised_by(own, active=True),
        labels=watched.detector.labels,
    )
