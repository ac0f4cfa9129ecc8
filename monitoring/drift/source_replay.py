"""All detectors of a version after a change of policies: each is shown, in their order, the first
labels since its last restart that count now and that the ledger still keeps.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from monitoring.drift import alarm, watch
from monitoring.drift.events import ALARM, CHECKPOINT, SETTINGS, SOURCES, STARTED
from monitoring.drift.patient_bets import place_again
from monitoring.drift.replay import RESTARTS, heard, read_labels, replayed_events, shown_again
from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger.schema import EVERYTHING
from monitoring.ledger.sum_tables import SliceKeys, SliceNames
from monitoring.ledger.watched_version import WatchedVersion


def show_again(connection: Connection, row: WatchedVersion, *, now_ns: int) -> tuple[int, int]:
    """Write the bets and detectors of a version; return how many alarms are over, and raised."""
    number = row.watched_version_id
    known = {each.name: each for each in watch.load_all(connection, number)}
    whole = known.get(EVERYTHING)
    if whole is None:
        return 0, 0
    history = replayed_events(connection, number)
    audits = [
        (event.feedback_id, event.detail["audit"])
        for event in history
        if event.kind in (STARTED, SETTINGS)
    ]
    rows = read_labels(connection, number, 0, None, placed=False)
    by_slice = _by_slice(connection, row, whole, place_again(connection, number, rows, audits))
    done = []
    for name in sorted({*by_slice, *known}):
        labels = by_slice.get(name, [])
        watched = known.get(name) or watch.start_tag(
            connection, whole, name, min(label.feedback_id for label in labels), now_ns=now_ns
        )
        # Its checkpoint is after all labels of the version: some of them count since now.
        last = max(watched.last_feedback_id, whole.last_feedback_id)
        watched = replace(watched, last_feedback_id=last)
        done.append(_show(connection, watched, labels, now_ns=now_ns))
    return sum(cleared for cleared, _ in done), sum(raised for _, raised in done)


def _by_slice(
    connection: Connection,
    row: WatchedVersion,
    whole: watch.Watched,
    labels: Sequence[FirstLabel],
) -> Mapping[str, list[FirstLabel]]:
    slices = SliceNames({row.watched_version_id: row}, admits=False)
    found: dict[str, list[FirstLabel]] = defaultdict(list, {EVERYTHING: list(labels)})
    for label in heard(labels, whole.settings) if whole.tags.keys else ():
        keys = SliceKeys(label.predicted, label.tags)
        for name in slices.of(connection, row.watched_version_id, keys):
            if whole.tags.watches(name):
                found[name].append(label)
    return found


def _show(
    connection: Connection, known: watch.Watched, labels: Sequence[FirstLabel], *, now_ns: int
) -> tuple[bool, bool]:
    """Save a detector; return whether its alarm is over, and whether it was raised."""
    history = replayed_events(connection, known.watched_version_id, known.name)
    detector, raised_at = shown_again(history, RESTARTS, _between(labels))
    again = replace(known, detector=detector)
    again.save(connection)
    kinds = [event.kind for event in history]
    restart = max(at for at, kind in enumerate(kinds) if kind in RESTARTS)
    if CHECKPOINT in kinds[restart:]:  # whose state holds labels that no longer count
        detail = again.as_checkpoint(SOURCES)
        watch.append_event(connection, again, CHECKPOINT, detail, now_ns=now_ns)
    raised = detector.active and not known.detector.active
    if raised and raised_at is not None:
        detail = alarm.describe(connection, known.watched_version_id, detector)
        at = replace(again, last_feedback_id=raised_at)
        watch.append_event(connection, at, ALARM, detail, now_ns=now_ns)
    return known.detector.active and not detector.active, raised


def _between(labels: Sequence[FirstLabel]) -> Callable[[int, int | None], list[FirstLabel]]:
    return lambda after, until: [
        label
        for label in labels
        if after < label.feedback_id and (until is None or label.bet <= until)
    ]
