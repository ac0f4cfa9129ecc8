"""The drift watch: one detector per calibration, whose state is saved in the transaction that records the labels.

So state and labels always agree: after a crash the detector has seen exactly the labels in the ledger, and a `replay`
of the first labels since the last start or acknowledgment gives the same state bit for bit.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, select

from calibration.drift import DriftDetector
from calibration.drift_state import DriftSettings, DriftState, StateOutdated
from monitoring.drift import alarm, events
from monitoring.drift.events import (
    ACKNOWLEDGED,
    ALARM,
    CHECKPOINT,
    SETTINGS,
    STARTED,
    Chapter,
    last_chapter,
    record,
)
from monitoring.feedback.first_labels import FirstLabel
from monitoring.ledger import calibrations
from monitoring.ledger.schema import feedback, label_current, monitor_state, prediction
from monitoring.ledger.statement import replacing

_KEEP = replacing(monitor_state)


@dataclass(frozen=True)
class Watched:
    """A calibration's detector and its last feedback id, which counts corrections although it does not see them."""

    calibration_id: int
    detector: DriftDetector
    last_feedback_id: int

    @property
    def settings(self) -> DriftSettings:
        """The detector's settings."""
        return self.detector.settings

    def save(self, connection: Connection) -> None:
        """Write the state in the caller's transaction, which also holds the labels that led to it."""
        state = json.dumps(self.detector.state.as_dict())
        row = (self.calibration_id, json.dumps(asdict(self.settings)), state, self.last_feedback_id)
        _KEEP.run(connection, [row])


def start(connection: Connection, calibration_id: int, settings: DriftSettings, *, now_ns: int) -> Watched:
    """Start or continue to watch a calibration and, if the settings are class-wise, each of its card's classes.

    New settings apply to the labels to come and are recorded as an event. `audit` belongs to the ledger: a process that
    draws none joins a watch of audited answers as it is. Only `acknowledge` with `audit=False` ends it.
    """
    known = load(connection, calibration_id)
    audit = settings.audit or (known is not None and known.settings.audit)
    class_count = _class_count(connection, calibration_id) if settings.class_wise else 0
    settings = replace(settings, class_count=class_count, audit=audit)
    if known is not None and known.settings == settings:
        return known
    if known is None:
        watched = Watched(calibration_id, DriftDetector(settings), 0)
    else:
        watched = Watched(calibration_id, known.detector.with_settings(settings), known.last_feedback_id)
    watched.save(connection)
    kind = STARTED if known is None else SETTINGS
    _note(connection, watched, kind, asdict(settings), now_ns=now_ns)
    return watched


def load(connection: Connection, calibration_id: int) -> Watched | None:
    """Return the saved detector, replayed if an older release saved it; None if the calibration is not watched."""
    row = connection.execute(select(monitor_state).filter_by(calibration_id=calibration_id)).one_or_none()
    return None if row is None else decode(connection, row)


def decode(connection: Connection, row: Row[Any]) -> Watched:
    """Return the detector in a row of monitor_state."""
    try:
        state = DriftState.from_dict(json.loads(row.state))
    except StateOutdated:
        # Labels of this transaction are in the ledger already and will be shown afterwards.
        detector = replay(connection, row.calibration_id, until=row.last_feedback_id)
    else:
        detector = DriftDetector(DriftSettings(**json.loads(row.settings)), state)
    return Watched(row.calibration_id, detector, row.last_feedback_id)


def advance(
    connection: Connection,
    calibration_id: int,
    labels: Sequence[FirstLabel],
    *,
    last_feedback_id: int,
    now_ns: int,
) -> tuple[DriftDetector, bool]:
    """Show first labels to the detector and save it; return it, and whether one of them raised the alarm."""
    known = load(connection, calibration_id)
    if known is None:
        known = start(connection, calibration_id, DriftSettings(), now_ns=now_ns)
    raised_at = _show(known.detector, labels)
    watched = Watched(calibration_id, known.detector, last_feedback_id)
    watched.save(connection)
    if raised_at is not None:
        raised = Watched(calibration_id, known.detector, raised_at)
        seen = _seen_since_reset(connection, calibration_id, known.settings, until=raised_at)
        detail = alarm.describe(connection, calibration_id, known.detector, seen)
        _note(connection, raised, ALARM, detail, now_ns=now_ns)
    return known.detector, raised_at is not None


def acknowledge(
    connection: Connection,
    calibration_id: int,
    *,
    note: str | None,
    now_ns: int,
    kind: str = ACKNOWLEDGED,
    audit: bool | None = None,
) -> Watched | None:
    """Reset the detector, with or without an alarm; return None if the calibration is not watched.

    `kind` is ACKNOWLEDGED in response to an alarm, else RESET, for example after a repair of the scanner. `audit` says
    whether the watch uses audited answers only from now on; None leaves that as it is.
    """
    watched = load(connection, calibration_id)
    if watched is None:
        return None
    detail = {"note": note, "was_active": watched.detector.active, "labels": watched.detector.labels}
    if audit is not None and audit != watched.settings.audit:
        changed = watched.detector.with_settings(replace(watched.settings, audit=audit))
        watched = replace(watched, detector=changed)
        _note(connection, watched, SETTINGS, asdict(watched.settings), now_ns=now_ns)
    watched.detector.reset()
    watched.save(connection)
    _note(connection, watched, kind, detail, now_ns=now_ns)
    return watched


def replay(connection: Connection, calibration_id: int, *, until: int | None = None) -> DriftDetector:
    """Rebuild the detector from the first labels in the ledger since the last start, acknowledgment or checkpoint.

    `until` is the last feedback id to show, by default the latest. Raises LookupError if it was never watched.
    """
    chapter = last_chapter(events.read(connection, calibration_id))
    detector, since = _at_start(chapter), chapter.since
    for changed_at, changed in chapter.changes:
        _show(detector, _first_labels(connection, calibration_id, since, changed_at))
        detector, since = detector.with_settings(changed), changed_at
    _show(detector, _first_labels(connection, calibration_id, since, until))
    return detector


def checkpoint(connection: Connection, calibration_id: int, reason: str, *, now_ns: int) -> None:
    """Save the detector's state as an event, because labels it has seen are about to be deleted."""
    watched = load(connection, calibration_id)
    if watched is not None:
        detail = {"reason": reason, "settings": asdict(watched.settings), "state": watched.detector.state.as_dict()}
        _note(connection, watched, CHECKPOINT, detail, now_ns=now_ns)


def _at_start(chapter: Chapter) -> DriftDetector:
    """Return the detector at the chapter's start; an empty one if its checkpoint has an outdated format."""
    try:
        return DriftDetector(chapter.settings, DriftState.from_dict(chapter.state) if chapter.state else None)
    except StateOutdated:
        return DriftDetector(chapter.settings)


def _class_count(connection: Connection, calibration_id: int) -> int:
    return sum(len(row.classes) for row in calibrations.load(connection, [calibration_id]))


def _seen_since_reset(
    connection: Connection, calibration_id: int, settings: DriftSettings, *, until: int
) -> list[FirstLabel]:
    since = last_chapter(events.read(connection, calibration_id)).began
    labels = _first_labels(connection, calibration_id, since, until, latest=alarm.LABELS_LIMIT)
    return [label for label in labels if label.audited or not settings.audit]


def _first_labels(
    connection: Connection, calibration_id: int, after: int, until: int | None, *, latest: int | None = None
) -> list[FirstLabel]:
    """Return the first labels with feedback ids in (after, until], in their order; at most the `latest`."""
    first_id = label_current.c.first_feedback_id
    columns = (label_current.c.confidence, feedback.c.correct, prediction.c.predicted, prediction.c.audit)
    wanted = (
        select(first_id, *columns)
        .join(feedback, feedback.c.feedback_id == first_id)
        .join(prediction, prediction.c.prediction_id == label_current.c.prediction_id)
        .where(label_current.c.calibration_id == calibration_id, first_id > after)
        .order_by(first_id.desc())
    )
    if until is not None:
        wanted = wanted.where(first_id <= until)
    rows = connection.execute(wanted.limit(latest)).all()
    return [
        FirstLabel(feedback_id, confidence, bool(correct), predicted, audit is not None)
        for feedback_id, confidence, correct, predicted, audit in reversed(rows)
    ]


def _show(detector: DriftDetector, labels: Sequence[FirstLabel]) -> int | None:
    """Update the detector; return the feedback id of the label that raised the alarm, if any."""
    if detector.settings.audit:
        labels = [label for label in labels if label.audited]
    if not labels:
        return None
    ids, confidence, correct, predicted, _ = zip(*labels, strict=True)
    raised = detector.update_many(confidence, correct, predicted)
    return None if raised is None else int(ids[raised])


def _note(connection: Connection, watched: Watched, kind: str, detail: dict[str, Any], *, now_ns: int) -> None:
    ids = {"feedback_id": watched.last_feedback_id, "now_ns": now_ns}
    record(connection, watched.calibration_id, kind, detail, **ids)
