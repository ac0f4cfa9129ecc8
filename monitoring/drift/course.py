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
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, select

from calibration.bins import FloatArray, IntArray
from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings, DriftState
from monitoring.drift import events, watch
from monitoring.drift.events import AFRESH, CHECKPOINT, SETTINGS, STARTED, Event
from monitoring.ledger.schema import DAY_NS, feedback, label_current, prediction

LABELS_LIMIT: Final = 100_000
_REMEMBERED: Final = 8  # courses, of at most 4 MB each
_REPLAYED: Final = (STARTED, SETTINGS, CHECKPOINT, *AFRESH)


@dataclass(frozen=True)
class EvidenceCourse:
    """(N,) arrays with one element for each label that the detector saw, in their order.

    Attributes:
        feedback_id: of the label.
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
        return EvidenceCourse(*(getattr(self, each.name)[inside] for each in fields(self)))


class CourseReader:
    """Reads courses and remembers them, so that a page that renews itself replays only the labels
    that are new.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Replay] = {}
        self._lock = threading.Lock()

    def read(self, connection: Connection, watched_version_id: int) -> EvidenceCourse | None:
        """Return the course; None if the version is not watched, or has too many labels since
        its last start.
        """
        watched = watch.load(connection, watched_version_id)
        if watched is None:
            return None
        history = [
            each for each in events.read(connection, watched_version_id) if each.kind in _REPLAYED
        ]
        with self._lock:
            known = self._known.pop(watched_version_id, None)
            if known is None or known.history != history:
                known = _begin(connection, watched_version_id, history)
            if known is not None and _continue(
                connection, watched_version_id, known, watched.last_feedback_id
            ):
                known = _begin(connection, watched_version_id, history)
                if known is not None:
                    _continue(connection, watched_version_id, known, watched.last_feedback_id)
            if known is None:
                return None
            self._known[watched_version_id] = known  # as the latest
            if len(self._known) > _REMEMBERED:
                self._known.pop(next(iter(self._known)))
            return known.course()


class _Labels(NamedTuple):
    """(N,) arrays: labels as the ledger has them."""

    feedback_id: npt.NDArray[Any]
    received_at_ns: npt.NDArray[Any]
    confidence: npt.NDArray[Any]
    correct: npt.NDArray[Any]
    predicted: npt.NDArray[Any]
    audited: npt.NDArray[Any]

    def chosen(self, which: IntArray | slice) -> "_Labels":
        return _Labels(*(column[which] for column in self))


class _Replay:
    """A detector to which labels are shown, and what it had after each. `until`: the last feedback
    id shown.
    """

    def __init__(self, history: list[Event], detector: DriftDetector, until: int) -> None:
        self.history = history
        self.until = until
        self._detector = detector
        self._columns: list[tuple[IntArray, IntArray, IntArray, FloatArray, FloatArray]] = []

    def __len__(self) -> int:
        return sum(len(column[0]) for column in self._columns)

    def show(self, labels: _Labels) -> None:
        """Show labels to the detector."""
        if self._detector.settings.audit:
            labels = labels.chosen(np.flatnonzero(labels.audited))
        if not len(labels.feedback_id):
            return
        before = self._detector.labels
        found = self._detector.follow_many(labels.confidence, labels.correct, labels.predicted)
        numbers = np.arange(before + 1, before + 1 + len(found))
        threshold = np.full(len(found), self._detector.log_threshold)
        self._columns.append((labels.feedback_id, labels.received_at_ns, numbers, found, threshold))

    def apply(self, event: Event) -> None:
        """Apply an event after its last label."""
        if event.kind == SETTINGS:
            self._detector = self._detector.with_settings(DriftSettings(**event.detail))
        elif event.kind in AFRESH:
            self._detector.reset()
        else:
            self._detector = _started(event)

    def course(self) -> EvidenceCourse:
        """What is known so far."""
        if not self._columns:
            empty = np.empty(0, dtype=np.int64)
            return EvidenceCourse(empty, empty, empty, np.empty(0), np.empty(0))
        if len(self._columns) > 1:
            self._columns = [
                tuple(  # type: ignore[list-item]
                    np.concatenate(column) for column in zip(*self._columns, strict=True)
                )
            ]
        return EvidenceCourse(*self._columns[0])


def _continue(connection: Connection, watched_version_id: int, known: _Replay, until: int) -> bool:
    """Show the labels that are new; whether there are now too many."""
    known.show(_read_labels(connection, watched_version_id, known.until, until))
    known.until = max(known.until, until)
    return len(known) > LABELS_LIMIT


def _begin(connection: Connection, watched_version_id: int, history: list[Event]) -> _Replay | None:
    """Replay the labels up to the last event; None if those since every possible start are too
    many.
    """
    first = _first(history, _oldest_id(connection, watched_version_id))
    if first is None:
        return None
    started = history[first]
    settings = [
        DriftSettings(**each.detail) for each in history[:first] if each.kind in (STARTED, SETTINGS)
    ]
    detector = DriftDetector(settings[-1]) if started.kind in AFRESH else _started(started)
    replay = _Replay(history, detector, started.feedback_id)
    until = history[-1].feedback_id
    labels = _read_labels(connection, watched_version_id, started.feedback_id, until)
    since = 0
    for event in history[first + 1 :]:
        through = int(np.searchsorted(labels.feedback_id, event.feedback_id, side="right"))
        replay.show(labels.chosen(slice(since, through)))
        replay.apply(event)
        since = max(since, through)
    replay.until = max(started.feedback_id, until)
    return replay


def _first(history: Sequence[Event], oldest_id: int) -> int | None:
    """The event to begin at: the earliest with all its labels, at most LABELS_LIMIT of them."""
    checkpoints = [place for place, event in enumerate(history) if event.kind == CHECKPOINT]
    for place in range(checkpoints[-1] if checkpoints else 0, len(history)):
        if history[place].kind != SETTINGS and history[place].feedback_id >= oldest_id:
            return place
    return None


def _started(event: Event) -> DriftDetector:
    """The detector after a start or a checkpoint."""
    if event.kind == STARTED:
        return DriftDetector(DriftSettings(**event.detail))
    settings = DriftSettings(**event.detail["settings"])
    return DriftDetector(settings, DriftState.from_dict(event.detail["state"]))


def _oldest_id(connection: Connection, watched_version_id: int) -> int:
    """The feedback id after which there are LABELS_LIMIT labels; 0 if there are no more than
    these.
    """
    first_id = label_current.c.first_feedback_id
    wanted = (
        select(first_id)
        .where(label_current.c.watched_version_id == watched_version_id)
        .order_by(first_id.desc())
    )
    return connection.scalar(wanted.offset(LABELS_LIMIT).limit(1)) or 0


def _read_labels(
    connection: Connection, watched_version_id: int, after: int, until: int
) -> _Labels:
    """The first labels with feedback ids in (after, until], in order."""
    first_id = label_current.c.first_feedback_id
    wanted = (
        select(
            *(first_id, feedback.c.received_at_ns, label_current.c.confidence, feedback.c.correct),
            *(prediction.c.predicted, prediction.c.audit.is_not(None)),
        )
        .join(feedback, feedback.c.feedback_id == first_id)
        .join(prediction, prediction.c.prediction_id == label_current.c.prediction_id)
        .where(
            label_current.c.watched_version_id == watched_version_id,
            first_id > after,
            first_id <= until,
        )
        .order_by(first_id)
    )
    rows = connection.execute(wanted).all()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(_Labels._fields)
    types = [np.float64 if name == "confidence" else np.int64 for name in _Labels._fields]
    return _Labels(*(np.array(column, dtype=of) for column, of in zip(columns, types, strict=True)))
