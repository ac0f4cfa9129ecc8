"""The course of the evidence: what the detector of all answers had after each label.

The ledger keeps the detector's latest state and the labels in their order, not the values in
between. So the labels are shown again, which gives the same values (`monitoring.drift.replay`). A
`CourseReader` keeps the course and continues it with the labels that came since.

Labels before a checkpoint may be deleted, so the course begins there. It has at most LABELS_LIMIT
labels: of longer histories it begins at a later acknowledgment or reset, and without one in reach
there is no course.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import FloatArray, IntArray
from calibration.drift.state import DriftSettings
from monitoring.drift import events, watch
from monitoring.drift.events import CHECKPOINT, SETTINGS, SOURCES, Event
from monitoring.drift.replay import columns_of, detector_after, heard, read_labels, replayed_events
from monitoring.ledger.schema import DAY_NS, label_current

LABELS_LIMIT: Final = 100_000
_REMEMBERED: Final = 8  # courses, of at most 4 MB each


@dataclass(frozen=True)
class EvidenceCourse:
    """(N,) arrays with one element for each bet that the detector saw, in their order: a label, or
    those of a patient that share one.

    Attributes:
        feedback_id: of the label, the first of them.
        received_at_ns: when it arrived, in nanoseconds since 1970.
        labels: how many labels the detector had seen since it last started from nothing.
        log_evalue: log E after the label.
        log_threshold: log E at which the alarm is raised.
    """

    feedback_id: IntArray
    received_at_ns: IntArray
    labels: IntArray
    log_evalue: FloatArray
    log_threshold: FloatArray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def day(self) -> IntArray:
        """(N,) UTC day on which each label arrived, counted from 1970."""
        return np.asarray(self.received_at_ns // DAY_NS)

    def between(self, first: int | None, last: int | None = None) -> "EvidenceCourse":
        """The part whose labels arrived on these days, both included; None for no end."""
        inside = np.ones(len(self), dtype=bool) if first is None else self.day >= first
        if last is not None:
            inside &= self.day <= last
        return EvidenceCourse(*(column[inside] for column in self._columns()))

    def followed_by(self, later: "EvidenceCourse") -> "EvidenceCourse":
        """This course and a later one, put together."""
        columns = zip(self._columns(), later._columns(), strict=True)
        return EvidenceCourse(*(np.concatenate(pair) for pair in columns))

    def _columns(self) -> list[np.ndarray]:
        return [getattr(self, column.name) for column in fields(self)]


class CourseReader:
    """Reads courses and remembers them: a page that renews itself replays new labels only."""

    def __init__(self) -> None:
        self._known: dict[int, _Replay] = {}
        self._lock = threading.Lock()

    def read(self, connection: Connection, watched_version_id: int) -> EvidenceCourse | None:
        """Return the course; None without a watch, or with too many labels since its last start."""
        watched = watch.load(connection, watched_version_id)
        if watched is None:
            return None
        history = replayed_events(connection, watched_version_id)
        everything = events.read(connection, watched_version_id)
        recounts = sum(event.kind == SOURCES for event in everything)
        with self._lock:
            replay = self._known.pop(watched_version_id, None)
            if replay is not None and (replay.history, replay.recounts) != (history, recounts):
                replay = None
            if replay is not None:
                replay.show(connection, watched.last_feedback_id)
            if replay is None or len(replay.course) > LABELS_LIMIT:
                first = _first(history, _oldest_id(connection, watched_version_id))
                if first is None:
                    return None
                replay = _Replay(connection, watched_version_id, history, first, recounts)
                replay.show(connection, watched.last_feedback_id)
            self._known[watched_version_id] = replay  # as the latest
            if len(self._known) > _REMEMBERED:
                self._known.pop(next(iter(self._known)))
            return replay.course


class _Replay:
    """A detector to which labels are shown, and what it had after each."""

    def __init__(
        self,
        connection: Connection,
        watched_version_id: int,
        history: list[Event],
        first: int,
        recounts: int,
    ) -> None:
        self.history, self.recounts = history, recounts
        none = np.empty(0, dtype=np.int64)
        self.course = EvidenceCourse(none, none, none, np.empty(0), np.empty(0))
        self._watched_version_id = watched_version_id
        self._detector = detector_after(history, first)
        self._until = history[first].feedback_id
        for position, event in enumerate(history[first + 1 :], first + 1):
            self.show(connection, event.feedback_id)
            if event.kind == SETTINGS:
                self._detector = self._detector.with_settings(DriftSettings(**event.detail))
            else:
                self._detector = detector_after(history, position)

    def show(self, connection: Connection, until: int) -> None:
        """Show the labels up to this feedback id that the detector has not seen."""
        rows = read_labels(connection, self._watched_version_id, self._until, until)
        self._until = max(self._until, until)
        labels = heard([row.label for row in rows], self._detector.settings)
        if not labels:
            return
        received_ns = {row.label.bet: row.received_at_ns for row in rows}
        bets = list(dict.fromkeys(label.bet for label in labels))
        seen, n = self._detector.labels, len(bets)
        part = EvidenceCourse(
            np.array(bets),
            np.array([received_ns[bet] for bet in bets]),
            np.arange(seen + 1, seen + 1 + n),
            self._detector.follow_many(*columns_of(labels)),
            np.full(n, self._detector.log_threshold),
        )
        self.course = self.course.followed_by(part)


def _first(history: Sequence[Event], oldest_id: int) -> int | None:
    """The event to begin at: the earliest with all its labels, at most LABELS_LIMIT of them."""
    checkpoints = [at for at, event in enumerate(history) if event.kind == CHECKPOINT]
    for at in range(checkpoints[-1] if checkpoints else 0, len(history)):
        if history[at].kind != SETTINGS and history[at].feedback_id >= oldest_id:
            return at
    return None


def _oldest_id(connection: Connection, watched_version_id: int) -> int:
    """The feedback id after which there are LABELS_LIMIT labels; 0 if there are no more."""
    first_id = label_current.c.first_feedback_id
    wanted = (
        select(first_id)
        .where(label_current.c.watched_version_id == watched_version_id)
        .order_by(first_id.desc())
    )
    return connection.scalar(wanted.offset(LABELS_LIMIT).limit(1)) or 0
