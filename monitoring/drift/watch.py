"""The drift watch: detectors of a calibration, whose states are saved in the transaction that
records the labels.

One sees all answers; if tags are watched, each of their values has one of its own. States and
labels always agree: after a crash the detectors have seen exactly the labels in the ledger, and a
`replay` of the first labels since the last start or acknowledgment gives the same states bit for
bit.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, select

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings, DriftState
from monitoring.drift import alarm as alarms
from monitoring.drift.acknowledgment import why_nothing_is_done
from monitoring.drift.events import (
    ACKNOWLEDGED,
    ALARM,
    CHECKPOINT,
    ENDED,
    SETTINGS,
    STARTED,
    TAGS,
    read,
    record,
)
from monitoring.drift.replay import seen_since_reset, show
from monitoring.drift.tag_settings import TagSettings
from monitoring.feedback.first_labels import FirstLabel
from monitoring.ledger import calibrations
from monitoring.ledger.schema import monitor_state
from monitoring.ledger.slices import EVERYTHING
from monitoring.ledger.statement import replacing

_KEEP = replacing(monitor_state)
_NO_TAGS = TagSettings()


@dataclass(frozen=True)
class Watched:
    """The detector of a slice and its last feedback id, which counts corrections although it does
    not see them.

    `name` is that of the slice; `tags`, of the watch of all answers, says which tags have detectors
    of their own.
    """

    calibration_id: int
    detector: DriftDetector
    last_feedback_id: int
    name: str = EVERYTHING
    tags: TagSettings = _NO_TAGS

    @property
    def settings(self) -> DriftSettings:
        """The detector's settings."""
        return self.detector.settings

    def save(self, connection: Connection) -> None:
        """Write the state in the caller's transaction, which also holds the labels that led to
        it.
        """
        state, tags = json.dumps(self.detector.state.as_dict()), json.dumps(self.tags.as_dict())
        settings = json.dumps(asdict(self.settings))
        row = (
            self.calibration_id,
            self.name,
            settings,
            state,
            self.last_feedback_id,
            tags if self.tags.keys else None,
        )
        _KEEP.run(connection, [row])


class Restart(NamedTuple):
    """A watch that somebody asked to restart; `unchanged` says why that was not done, empty if it
    was.
    """

    watched: Watched
    unchanged: str = ""


def start(
    connection: Connection,
    calibration_id: int,
    settings: DriftSettings,
    *,
    now_ns: int,
    tags: TagSettings | None = None,
) -> Watched:
    """Start or continue to watch a calibration and, if the settings are class-wise, each of its
    card's classes.

    New settings apply to the labels to come and are recorded as an event. `audit` and `tags` belong
    to the ledger: a process that draws none joins a watch of audited answers as it is, and one with
    `tags` None leaves them as they are. Only `acknowledge` with `audit=False` ends the first, and
    `tags` without keys the second.
    """
    known = load(connection, calibration_id)
    tags = tags if tags is not None else known.tags if known is not None else _NO_TAGS
    audit = settings.audit or (known is not None and known.settings.audit)
    class_count = _class_count(connection, calibration_id) if settings.class_wise else 0
    settings = tags.of_everything(replace(settings, class_count=class_count, audit=audit))
    if known is not None and (known.settings, known.tags) == (settings, tags):
        return known
    if known is None:
        watched = Watched(calibration_id, DriftDetector(settings), 0, tags=tags)
    else:
        changed = (
            known.detector if known.settings == settings else known.detector.with_settings(settings)
        )
        watched = Watched(calibration_id, changed, known.last_feedback_id, tags=tags)
    watched.save(connection)
    if known is None or known.settings != settings:
        append_event(
            connection,
            watched,
            STARTED if known is None else SETTINGS,
            asdict(settings),
            now_ns=now_ns,
        )
    if tags != (known.tags if known is not None else _NO_TAGS):
        append_event(connection, watched, TAGS, tags.as_dict(), now_ns=now_ns)
    _follow(connection, watched, now_ns=now_ns)
    return watched


def load(connection: Connection, calibration_id: int, name: str = EVERYTHING) -> Watched | None:
    """Return the saved detector; None if the slice is not watched."""
    return next(iter(load_some(connection, calibration_id, [name])), None)


def load_some(connection: Connection, calibration_id: int, names: Iterable[str]) -> list[Watched]:
    """Return the saved detectors of these slices, in the order of their names."""
    wanted = select(monitor_state).where(
        monitor_state.c.calibration_id == calibration_id, monitor_state.c.slice.in_(list(names))
    )
    return [decode(row) for row in connection.execute(wanted.order_by(monitor_state.c.slice)).all()]


def load_all(connection: Connection, calibration_id: int) -> list[Watched]:
    """Return all saved detectors of a calibration: that of all answers, then those of tags by
    name.
    """
    wanted = (
        select(monitor_state)
        .filter_by(calibration_id=calibration_id)
        .order_by(monitor_state.c.slice)
    )
    return [decode(row) for row in connection.execute(wanted).all()]


def decode(row: Row[Any]) -> Watched:
    """Return the detector in a row of monitor_state."""
    state = DriftState.from_dict(json.loads(row.state))
    detector = DriftDetector(DriftSettings(**json.loads(row.settings)), state)
    tags = TagSettings.from_dict(json.loads(row.tags)) if row.tags else _NO_TAGS
    return Watched(row.calibration_id, detector, row.last_feedback_id, row.slice, tags)


def advance(
    connection: Connection,
    calibration_id: int,
    labels: Sequence[FirstLabel],
    *,
    last_feedback_id: int,
    now_ns: int,
) -> tuple[Watched, bool]:
    """Show first labels to the detector of all answers and save it; return it, and whether one
    raised the alarm.
    """
    known = load(connection, calibration_id)
    if known is None:
        known = start(connection, calibration_id, DriftSettings(), now_ns=now_ns)
    return show_and_save(
        connection, known, labels, last_feedback_id=last_feedback_id, now_ns=now_ns
    )


def show_and_save(
    connection: Connection,
    known: Watched,
    labels: Sequence[FirstLabel],
    *,
    last_feedback_id: int,
    now_ns: int,
) -> tuple[Watched, bool]:
    """Show first labels of its slice to a detector and save it; return it, and whether one of them
    raised the alarm.
    """
    raised_at = show(known.detector, labels)
    watched = replace(known, last_feedback_id=last_feedback_id)
    watched.save(connection)
    if raised_at is not None:
        raised = replace(known, last_feedback_id=raised_at)
        seen = seen_since_reset(
            connection,
            known.calibration_id,
            known.settings,
            name=known.name,
            until=raised_at,
            latest=alarms.LABELS_LIMIT,
        )
        append_event(
            connection,
            raised,
            ALARM,
            alarms.describe(connection, known.calibration_id, known.detector, seen),
            now_ns=now_ns,
        )
    return watched, raised_at is not None


def acknowledge(
    connection: Connection,
    calibration_id: int,
    *,
    note: str | None,
    now_ns: int,
    actor: str | None = None,
    kind: str = ACKNOWLEDGED,
    audit: bool | None = None,
    name: str = EVERYTHING,
    alarm: int | None = None,
) -> Restart | None:
    """Reset the detector of a slice, with or without an alarm; return None if the slice is not
    watched.

    `actor` is who asked for it. `kind` is ACKNOWLEDGED in response to an alarm, else RESET, for
    example after a repair of the scanner. `audit` says whether the watch, with all its tags, uses
    audited answers only from now on; None leaves that as it is. `alarm` is the feedback id of the
    alarm that is acknowledged, None for the active one. If that alarm is not active, and `audit`
    changes nothing, the watch stays as it is.
    """
    watched = load(connection, calibration_id, name)
    changes_audit = watched is not None and audit not in (None, watched.settings.audit)
    if watched is not None and kind == ACKNOWLEDGED and (alarm is not None or not changes_audit):
        history = read(connection, calibration_id, name)
        if unchanged := why_nothing_is_done(history, alarm, active=watched.detector.active):
            return Restart(watched, unchanged)
    if audit is not None:
        _hear(connection, calibration_id, audit=audit, now_ns=now_ns)
    watched = load(connection, calibration_id, name)
    if watched is None:
        return None
    detail = {
        "note": note,
        "was_active": watched.detector.active,
        "labels": watched.detector.labels,
    }
    detail |= {} if actor is None else {"actor": actor}
    watched.detector.reset()
    watched.save(connection)
    append_event(connection, watched, kind, detail, now_ns=now_ns)
    return Restart(watched)


def checkpoint(connection: Connection, calibration_id: int, reason: str, *, now_ns: int) -> None:
    """Save the detectors' states as events, because labels that they have seen are about to be
    deleted.
    """
    for watched in load_all(connection, calibration_id):
        detail = {
            "reason": reason,
            "settings": asdict(watched.settings),
            "state": watched.detector.state.as_dict(),
        }
        append_event(connection, watched, CHECKPOINT, detail, now_ns=now_ns)


def append_event(
    connection: Connection, watched: Watched, kind: str, detail: dict[str, Any], *, now_ns: int
) -> None:
    """Record an event of a watch, after its last label."""
    ids = {"feedback_id": watched.last_feedback_id, "now_ns": now_ns}
    record(connection, watched.calibration_id, kind, detail, name=watched.name, **ids)


def _hear(connection: Connection, calibration_id: int, *, audit: bool, now_ns: int) -> None:
    """Use audited answers only, or all, from now on."""
    whole = load(connection, calibration_id)
    if whole is None or whole.settings.audit == audit:
        return
    whole = replace(
        whole, detector=whole.detector.with_settings(replace(whole.settings, audit=audit))
    )
    whole.save(connection)
    append_event(connection, whole, SETTINGS, asdict(whole.settings), now_ns=now_ns)
    _follow(connection, whole, now_ns=now_ns)


def _follow(connection: Connection, whole: Watched, *, now_ns: int) -> None:
    """Give the watches of tags the settings that follow from those of the whole; end those that are
    not asked for.
    """
    for watched in load_all(connection, whole.calibration_id):
        if watched.name == EVERYTHING:
            continue
        if not whole.tags.watches(watched.name):
            this = {"calibration_id": watched.calibration_id, "slice": watched.name}
            connection.execute(delete(monitor_state).filter_by(**this))
            append_event(connection, watched, ENDED, {}, now_ns=now_ns)
            continue
        settings = whole.tags.of_slice(whole.settings, watched.name)
        if settings != watched.settings:
            # Labels of other slices have arrived since its last one: the change applies after all
            # of them.
            changed = replace(
                watched,
                detector=watched.detector.with_settings(settings),
                last_feedback_id=max(watched.last_feedback_id, whole.last_feedback_id),
            )
            changed.save(connection)
            append_event(connection, changed, SETTINGS, asdict(settings), now_ns=now_ns)


def _class_count(connection: Connection, calibration_id: int) -> int:
    return sum(len(row.classes) for row in calibrations.load(connection, [calibration_id]))
