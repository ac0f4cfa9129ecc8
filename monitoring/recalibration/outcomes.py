"""What became of a recalibration, in a version's history: by whom, what it does, what follows."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from monitoring.drift import events, watch
from monitoring.drift.events import RECALIBRATED, RECALIBRATING, Event
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import Lock, lock, lock_versions
from monitoring.ledger.versions import of_model


def note(ledger: Ledger, watched_version_id: int, detail: dict[str, Any]) -> None:
    """Append what became of a recalibration, and how many labels the watch has seen."""
    with ledger.write() as connection:
        lock(connection, Lock.VERSION, watched_version_id)
        _append(connection, watched_version_id, detail, kind=RECALIBRATED, now_ns=ledger.clock())


def attempts(connection: Connection, model: str) -> list[Event]:
    """Return the beginnings of all attempts for any version of a model."""
    return [
        event
        for row in of_model(connection, model)
        for event in events.read(connection, row.watched_version_id)
        if event.kind == RECALIBRATING
    ]


def claim(
    ledger: Ledger, watched_version_ids: Sequence[int], *, model: str, seen_attempts: int
) -> bool:
    """Note that an attempt begins for these versions, unless another one did meanwhile; return
    whether.

    Two processes may both lead for a moment. Only one of them gets the attempt.
    """
    with ledger.write() as connection:
        lock_versions(connection, watched_version_ids)
        is_first = len(attempts(connection, model)) == seen_attempts
        for each in watched_version_ids if is_first else ():
            detail, now_ns = {"by": "alarm"}, ledger.clock()
            _append(connection, each, detail, kind=RECALIBRATING, now_ns=now_ns)
    return is_first


def _append(
    connection: Connection,
    watched_version_id: int,
    detail: dict[str, Any],
    *,
    kind: str,
    now_ns: int,
) -> None:
    watched = watch.load(connection, watched_version_id)
    seen, last = (watched.detector.labels, watched.last_feedback_id) if watched else (0, 0)
    detail = detail | {"labels_seen": seen}
    events.record(connection, watched_version_id, kind, detail, feedback_id=last, now_ns=now_ns)
