"""The drift watch: one detector a calibration, whose state is saved in the transaction that records the labels.
 State and labels are therefore never apart: after a crash the detector stands where the ledger stands, and a
`replay` of the ledger's first labels since the last start or acknowledgment gives the very same state.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, insert, select

from calibration.drift import DriftDetector, DriftSettings, DriftState
from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger.schema import feedback, label_current, monitor_event, monitor_state
from monitoring.ledger.statement import replacing

STARTED, SETTINGS, ALARM, ACKNOWLEDGED = "started", "settings", "alarm", "acknowledged"
_KEEP = replacing(monitor_state)


@dataclass(frozen=True)
class Watched:
    """A calibration's detector, and the last feedback id it knows of (corrections count, though it never sees them)."""

    calibration_id: int
    detector: DriftDetector
    settings: DriftSettings
    last_feedback_id: int

    def save(self, connection: Connection) -> None:
        """Write the state; the caller's transaction also holds the labels that led to it."""
        state = json.dumps(self.detector.state.as_dict())
        row = (self.calibration_id, json.dumps(asdict(self.settings)), state, self.last_feedback_id)
        _KEEP.run(connection, [row])


@dataclass(frozen=True)
class Event:
    """One entry of a calibration's history."""

    kind: str
    feedback_id: int
    at_ns: int
    detail: dict[str, Any]


def start(connection: Connection, calibration_id: int, settings: DriftSettings, *, now_ns: int) -> Watched:
    """Begin to watch, or go on watching. Other settings than before hold for the labels to come, and are an event."""
    known = load(connection, calibration_id)
    if known is not None and known.settings == settings:
        return known
    if known is None:
        watched = Watched(calibration_id, DriftDetector(settings), settings, 0)
    else:
        detector = DriftDetector(settings, known.detector.state)
        watched = Watched(calibration_id, detector, settings, known.last_feedback_id)
    watched.save(connection)
    _record(connection, watched, STARTED if known is None else SETTINGS, asdict(settings), now_ns=now_ns)
    return watched


def load(connection: Connection, calibration_id: int) -> Watched | None:
    """The detector as it was saved; None when the calibration is not watched."""
    row = connection.execute(select(monitor_state).filter_by(calibration_id=calibration_id)).one_or_none()
    return None if row is None else decode(row)


def decode(row: Row[Any]) -> Watched:
    """The detector that a row of monitor_state holds."""
    settings = DriftSettings(**json.loads(row.settings))
    detector = DriftDetector(settings, DriftState.from_dict(json.loads(row.state)))
    return Watched(row.calibration_id, detector, settings, row.last_feedback_id)


def advance(
    connection: Connection,
    calibration_id: int,
    labels: Sequence[FirstLabel],
    *,
    last_feedback_id: int,
    now_ns: int,
) -> tuple[DriftDetector, bool]:
    """Show the detector these first labels and save it; also says whether the alarm was raised on one of them."""
    known = load(connection, calibration_id)
    if known is None:
        known = start(connection, calibration_id, DriftSettings(), now_ns=now_ns)
    alarm = _show(known.detector, [(label.confidence, label.correct) for label in labels])
    watched = Watched(calibration_id, known.detector, known.settings, last_feedback_id)
    watched.save(connection)
    if alarm is not None:
        raised = Watched(calibration_id, known.detector, known.settings, labels[alarm].feedback_id)
        detail = {"labels": known.detector.alarm_label, "direction": known.detector.direction}
        _record(connection, raised, ALARM, detail, now_ns=now_ns)
    return known.detector, alarm is not None


def acknowledge(connection: Connection, calibration_id: int, *, note: str | None, now_ns: int) -> Watched | None:
    """Forget the evidence so far and begin anew, alarm or not; None when the calibration is not watched."""
    watched = load(connection, calibration_id)
    if watched is not None:
        detail = {"note": note, "was_active": watched.detector.active, "labels": watched.detector.labels}
        watched.detector.reset()
        watched.save(connection)
        _record(connection, watched, ACKNOWLEDGED, detail, now_ns=now_ns)
    return watched


def events(connection: Connection, calibration_id: int) -> list[Event]:
    """The history of a calibration, oldest first."""
    wanted = select(monitor_event).filter_by(calibration_id=calibration_id).order_by(monitor_event.c.event_id)
    return [Event(row.kind, row.feedback_id, row.at_ns, json.loads(row.detail)) for row in connection.execute(wanted)]


def replay(connection: Connection, calibration_id: int) -> DriftDetector:
    """Rebuild the detector from the ledger alone: first labels since the last start or acknowledgment.

    Raises LookupError when the calibration was never watched.
    """
    settings, since, changes = _last_chapter(events(connection, calibration_id))
    detector = DriftDetector(settings)
    for changed_at, changed in changes:
        _show(detector, _first_labels(connection, calibration_id, since, changed_at))
        detector, since = DriftDetector(changed, detector.state), changed_at
    _show(detector, _first_labels(connection, calibration_id, since, None))
    return detector


def _last_chapter(history: Sequence[Event]) -> tuple[DriftSettings, int, list[tuple[int, DriftSettings]]]:
    """The settings and feedback id at the last reset, and the (feedback id, settings) of each change since."""
    settings: DriftSettings | None = None
    since, changes = 0, list[tuple[int, DriftSettings]]()
    for event in history:
        if event.kind == STARTED:
            settings, since = DriftSettings(**event.detail), event.feedback_id
        elif event.kind == SETTINGS:
            changes.append((event.feedback_id, DriftSettings(**event.detail)))
        elif event.kind == ACKNOWLEDGED:
            settings, since, changes = (changes[-1][1] if changes else settings), event.feedback_id, []
    if settings is None:
        raise LookupError("This calibration was never watched: its history has no start.")
    return settings, since, changes


def _first_labels(
    connection: Connection, calibration_id: int, after: int, until: int | None
) -> list[tuple[float, bool]]:
    """(confidence, correct when first labeled) for feedback ids in (after, until]."""
    first_id = label_current.c.first_feedback_id
    wanted = (
        select(label_current.c.confidence, feedback.c.correct)
        .join(feedback, feedback.c.feedback_id == first_id)
        .where(label_current.c.calibration_id == calibration_id, first_id > after)
        .order_by(first_id)
    )
    if until is not None:
        wanted = wanted.where(first_id <= until)
    return [(row.confidence, bool(row.correct)) for row in connection.execute(wanted)]


def _show(detector: DriftDetector, labels: Sequence[tuple[float, bool]]) -> int | None:
    """Update the detector; the index of the label that raised the alarm, if one did."""
    if not labels:
        return None
    confidence, correct = zip(*labels, strict=True)
    return detector.update_many(np.array(confidence, dtype=np.float64), np.array(correct, dtype=bool))


def _record(connection: Connection, watched: Watched, kind: str, detail: dict[str, Any], *, now_ns: int) -> None:
    values = {"kind": kind, "at_ns": now_ns, "detail": json.dumps(detail)}
    ids = {"calibration_id": watched.calibration_id, "feedback_id": watched.last_feedback_id}
    connection.execute(insert(monitor_event).values(values | ids))
