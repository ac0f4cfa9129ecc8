"""The labels that count now, shown to all detectors of a version after a change of policies.

A detector is shown, in their order, the first labels since its last restart that the ledger still
keeps. Most of that is done on a snapshot, while others write. The transaction that saves it shows
what arrived meanwhile, and refuses if the watch was restarted or set otherwise.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, select

from calibration.drift.detector import DriftDetector
from monitoring.drift import alarm, watch
from monitoring.drift.events import ALARM, CHECKPOINT, SETTINGS, SOURCES, STARTED, Event
from monitoring.drift.patient_bets import Bets, place_again
from monitoring.drift.replay import (
    RESTARTS,
    heard,
    read_labels,
    replayed_events,
    show,
    shown_again,
)
from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger.schema import EVERYTHING, monitor_event
from monitoring.ledger.sum_tables import SliceKeys, SliceNames
from monitoring.ledger.watched_version import WatchedVersion


@dataclass
class _Shown:
    """A detector after all labels of its slice; `history` is empty before it has started."""

    history: Sequence[Event]
    detector: DriftDetector
    labels: list[FirstLabel]
    raised_at: int | None = None


class WatchReplay:
    """The detectors of a watched version, computed on a snapshot."""

    def __init__(self, connection: Connection, row: WatchedVersion, whole: watch.Watched) -> None:
        self._row, self._whole, self._number = row, whole, row.watched_version_id
        self._last_event = _last_event(connection, self._number)
        self._last_id, self._served_ns = 0, dict[int, int]()
        history = replayed_events(connection, self._number)
        self._audits = [
            (event.feedback_id, event.detail["audit"])
            for event in history
            if event.kind in (STARTED, SETTINGS)
        ]
        self._bets, by_slice = self._read(connection)
        watched = {each.name for each in watch.load_all(connection, self._number)}
        self._shown = {
            name: self._of_slice(connection, name, by_slice.get(name, []))
            for name in sorted({*by_slice, *watched})
        }

    def save(self, connection: Connection, *, now_ns: int) -> tuple[int, int] | None:
        """Write bets and detectors; return how many alarms are over, and raised.

        Returns None, and writes nothing, if an event has made the work useless. The connection is
        in a transaction that locks the version.
        """
        if _last_event(connection, self._number) != self._last_event:
            return None
        self._bets.keep(connection)
        bets, by_slice = self._read(connection)  # what has arrived since
        bets.keep(connection)
        for name, labels in by_slice.items():
            if name not in self._shown:
                self._shown[name] = self._of_slice(connection, name, [])
            shown = self._shown[name]
            shown.raised_at = show(shown.detector, labels) or shown.raised_at
            shown.labels += labels
        known = {each.name: each for each in watch.load_all(connection, self._number)}
        done = [
            self._save_one(connection, known.get(name), name, shown, now_ns)
            for name, shown in self._shown.items()
        ]
        return sum(cleared for cleared, _ in done), sum(raised for _, raised in done)

    def _read(self, connection: Connection) -> tuple[Bets, Mapping[str, list[FirstLabel]]]:
        """Return the bets of labels that were not read before, and the labels by slice."""
        after = self._last_id
        rows = read_labels(connection, self._number, after, None, placed=False)
        self._last_id = rows[-1].label.feedback_id if rows else after
        bets = place_again(
            connection, self._number, rows, self._audits, after=after, served_ns=self._served_ns
        )
        slices = SliceNames({self._number: self._row}, admits=False)
        by_slice: dict[str, list[FirstLabel]] = defaultdict(list, {EVERYTHING: bets.labels})
        tags = self._whole.tags
        for label in heard(bets.labels, self._whole.settings) if tags.keys else ():
            keys = SliceKeys(label.predicted, label.tags)
            for name in slices.of(connection, self._number, keys):
                if tags.watches(name):
                    by_slice[name].append(label)
        return bets, by_slice

    def _of_slice(self, connection: Connection, name: str, labels: Sequence[FirstLabel]) -> _Shown:
        history = replayed_events(connection, self._number, name)
        if not history:
            settings = self._whole.tags.of_slice(self._whole.settings, name)
            detector = DriftDetector(settings)
            return _Shown([], detector, list(labels), show(detector, labels))
        detector, raised_at = shown_again(history, RESTARTS, _between(labels))
        return _Shown(history, detector, list(labels), raised_at)

    def _save_one(
        self,
        connection: Connection,
        known: watch.Watched | None,
        name: str,
        shown: _Shown,
        now_ns: int,
    ) -> tuple[bool, bool]:
        """Save a detector; return whether its alarm is over, and whether it was raised."""
        if known is None:
            first_id = min(label.feedback_id for label in shown.labels)
            known = watch.start_tag(connection, self._whole, name, first_id, now_ns=now_ns)
        again, active = replace(known, detector=shown.detector), shown.detector.active
        again.save(connection)
        kinds = [event.kind for event in shown.history]
        restart = max((at for at, kind in enumerate(kinds) if kind in RESTARTS), default=0)
        if CHECKPOINT in kinds[restart:]:  # whose state holds labels that no longer count
            detail = again.as_checkpoint(SOURCES)
            watch.append_event(connection, again, CHECKPOINT, detail, now_ns=now_ns)
        raised = active and not known.detector.active
        if raised and shown.raised_at is not None:
            since = shown.history[restart].feedback_id if shown.history else 0
            seen = heard(_between(shown.labels)(since, shown.raised_at), known.settings)
            at = replace(again, last_feedback_id=shown.raised_at)
            latest = seen[-alarm.LABELS_LIMIT :]
            detail = alarm.describe(connection, self._number, shown.detector, latest)
            watch.append_event(connection, at, ALARM, detail, now_ns=now_ns)
        return known.detector.active and not active, raised


def _last_event(connection: Connection, watched_version_id: int) -> int | None:
    of_version = monitor_event.c.watched_version_id == watched_version_id
    found: int | None = connection.scalar(
        select(func.max(monitor_event.c.event_id)).where(of_version)
    )
    return found


def _between(labels: Sequence[FirstLabel]) -> Callable[[int, int | None], list[FirstLabel]]:
    def chosen(after: int, until: int | None) -> Iterator[FirstLabel]:
        for label in labels:
            if after < label.feedback_id and (until is None or label.bet <= until):
                yield label

    return lambda after, until: list(chosen(after, until))
