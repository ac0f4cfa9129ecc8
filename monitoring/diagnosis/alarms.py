"""The active alarms of the watch, of all answers and of tags."""

import math
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from monitoring.diagnosis.facts import Alarm
from monitoring.drift import events, watch
from monitoring.drift.acknowledgment import raised_by
from monitoring.drift.current_evidence import (
    CurrentEvidence,
    CurrentLabels,
    evidence_on_current_labels,
)
from monitoring.drift.tag_settings import tag_of
from monitoring.drift.watch import Watched
from monitoring.ledger.schema import EVERYTHING


def active_alarms(
    watches: Sequence[Watched],
    history: Sequence[events.Event],
    on_current_labels: Mapping[str, CurrentEvidence],
) -> tuple[Alarm, ...]:
    """Return the active alarms, that of all answers first; `history`: with events of tags."""
    found = [(each, on_current_labels.get(each.name)) for each in watches if each.detector.active]
    return tuple(_alarm(each, history, now) for each, now in found)


def read_current_evidence(
    connection: Connection, watched_version_id: int, labels: CurrentLabels
) -> dict[str, CurrentEvidence]:
    """The evidence of active alarms whose labels were corrected on current labels, by slice."""
    found = {
        each.name: evidence_on_current_labels(connection, each, labels)
        for each in watch.load_all(connection, watched_version_id)
        if each.detector.active
    }
    return {name: each for name, each in found.items() if each.corrected}


def _alarm(watched: Watched, history: Sequence[events.Event], now: CurrentEvidence | None) -> Alarm:
    own = [event for event in history if event.name == watched.name]
    raised = events.latest(own, events.ALARM)
    return Alarm(
        tag=None if watched.name == EVERYTHING else tag_of(watched.name),
        direction=watched.detector.direction or "over",
        raised_s=raised.at_ns / 1e9 if raised else math.nan,
        feedback_id=raised_by(own, active=True),
        labels=watched.detector.labels,
        log_evalue=watched.detector.log_evalue,
        log_threshold=watched.detector.log_threshold,
        on_current_labels=now,
    )
