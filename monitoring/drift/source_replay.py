"""After a change of policies: labels counted again (what each counts as, the current labels of
their answers, and the sums), and shown to all detectors of a version.

A detector is shown, in their order, the first labels since its last restart that the ledger still
keeps. Most of that is done on a snapshot, while others write. The transaction that saves it shows
what arrived meanwhile, and refuses if the watch was restarted or set otherwise.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from calibration.drift.detector import DriftDetector
from monitoring.drift import alarm, watch
from monitoring.drift.events import ALARM, CHECKPOINT, SETTINGS, SOURCES, STARTED, Event
from monitoring.drift.patient_bets import Bets, place_again
from monitoring.drift.replay import RESTARTS, heard, read_labels, replayed_events, show, shown_again
from monitoring.feedback.answers import (
    SaidLabel,
    ServedAnswer,
    changes_among,
    find,
    read_said,
    recounted,
)
from monitoring.feedback.labeling import CurrentLabel, FirstLabel
from monitoring.ledger.database import in_lists, replacing
from monitoring.ledger.locks import lock_tables
from monitoring.ledger.predictions import pruned_before_ns
from monitoring.ledger.schema import (
    EVERYTHING,
    bin_day,
    bin_total,
    feedback,
    label_current,
    monitor_event,
)
from monitoring.ledger.sum_changes import SumChanges
from monitoring.ledger.sum_tables import SliceKeys, SliceNames, add_sums
from monitoring.ledger.watched_version import CountsAs, WatchedVersion
from monitoring.sources import SourcePolicies


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
            at = replace(again, last_feedback_id=shown.raised_at)
            detail = alarm.describe(connection, self._number, shown.detector)
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


_KEEP = replacing(label_current)


@dataclass(frozen=True)
class SourcesChanged:
    """What a change of policies did.

    Attributes:
        labels: how many labels count as something else now.
        answers: how many answers have another current label, or one more, or none any more.
        cleared: how many active alarms are over, because no label that counts supports them.
        raised: how many alarms the labels that count now have raised.
    """

    labels: int = 0
    answers: int = 0
    cleared: int = 0
    raised: int = 0

    def __add__(self, other: "SourcesChanged") -> "SourcesChanged":
        return SourcesChanged(
            *(getattr(self, name) + getattr(other, name) for name in asdict(self))
        )


def count_again(
    connection: Connection,
    row: WatchedVersion,
    policies: SourcePolicies,
    prediction_ids: Sequence[bytes],
) -> SourcesChanged:
    """Count all labels of these answers of a version by its model's policies.

    The connection is in a transaction that locks the version.
    """
    lock_tables(connection, bin_day, bin_total)
    taken, given, done = SumChanges(), SumChanges(), SourcesChanged()
    for portion in in_lists(prediction_ids):
        done += _count_again(connection, policies, portion, taken, given)
    if done.answers:
        slices = SliceNames({row.watched_version_id: row})
        for sign, changes in ((-1, taken), (1, given)):
            days = changes.totals(connection, slices)
            add_sums(connection, _times(sign, days))
    return done


def _count_again(
    connection: Connection,
    policies: SourcePolicies,
    ids: Sequence[bytes],
    taken: SumChanges,
    given: SumChanges,
) -> SourcesChanged:
    """Write what the labels of these answers count as, and their current labels."""
    answers = find(connection, ids)
    said = read_said(connection, ids)
    again = {key: recounted(rows, policies) for key, rows in said.items()}
    moved: dict[int, list[int]] = defaultdict(list)
    for key, rows in said.items():
        for old, new in zip(rows, again[key], strict=True):
            if old.counts_as != new.counts_as:
                moved[new.counts_as].append(new.feedback_id)
    for counts_as, labels in moved.items():
        for part in in_lists(labels):
            now = update(feedback).where(feedback.c.feedback_id.in_(part))
            connection.execute(now.values(counts_as=counts_as))
    changes = [
        (answer, current)
        for key, answer in answers.items()
        if (current := _current(answer, again[key])) != _stored(answer)
    ]
    gone = [answer.prediction_id for answer, current in changes if current is None]
    connection.execute(delete(label_current).where(label_current.c.prediction_id.in_(gone)))
    _KEEP.run(connection, [current for _, current in changes if current is not None])
    kept_ns = pruned_before_ns(connection)  # the sums before that cannot be recounted
    kept = [each for each in changes if each[0].served_at_ns >= kept_ns]
    _label(taken, [(answer, answer.label) for answer, _ in kept])
    _label(given, [(answer, current and current.label) for answer, current in kept])
    return SourcesChanged(sum(map(len, moved.values())), len(changes))


def _current(answer: ServedAnswer, said: Sequence[SaidLabel]) -> CurrentLabel | None:
    """Return the row of `label_current` that follows from the labels of an answer."""
    truths = [row for row in said if row.counts_as == CountsAs.TRUTH]
    if not truths:
        return None
    first, last = truths[0], truths[-1]
    which = (answer.prediction_id, answer.watched_version_id, first.feedback_id)
    return CurrentLabel(*which, changes_among(truths), last.label, last.correct, answer.confidence)


def _stored(answer: ServedAnswer) -> CurrentLabel | None:
    """Return the row of `label_current` that an answer has."""
    if answer.label is None:
        return None
    which = (answer.prediction_id, answer.watched_version_id, answer.first_feedback_id or 0)
    correct = int(answer.label == answer.predicted)
    return CurrentLabel(*which, answer.revision or 0, answer.label, correct, answer.confidence)


def _label(changes: SumChanges, labels: Sequence[tuple[ServedAnswer, int | None]]) -> None:
    labeled = [(answer, label) for answer, label in labels if label is not None]
    changes.label([answer for answer, _ in labeled], [label for _, label in labeled])


def _times(sign: int, rows: Mapping[Any, Sequence[float]]) -> dict[Any, list[float]]:
    return {key: [sign * value for value in sums] for key, sums in rows.items()}
