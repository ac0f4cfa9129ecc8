"""The watch of doubtful images: its evidence, its alarm in the history, and its acknowledgment.

The evidence follows from the counts of complete UTC days (`calibration.scope.watch`), so none of it
is saved. The leading process writes the alarm into the history, under the slice DOUBTFUL. The watch
starts again on the day after it, or the drift watch of all answers, is reset or acknowledged. An
image counts once, however many findings its answer has: those of the first one are counted.
"""

from sqlalchemy import Connection

from calibration.scope.watch import DoubtfulEvidence, follow_doubtful
from monitoring.drift import events
from monitoring.drift.events import ALARM, Event
from monitoring.ledger.database import Ledger
from monitoring.ledger.days import doubtful_days, promised_share
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.schema import DAY_NS, EVERYTHING
from monitoring.ledger.sum_tables import DOUBTFUL
from monitoring.ledger.versions import load_all, of_images
from monitoring.ledger.watched_version import WatchedVersion


def find_evidence(
    connection: Connection, row: WatchedVersion, *, now_ns: int
) -> DoubtfulEvidence | None:
    """Return the evidence against the card's promise; None without a scope check."""
    row, promised = of_images(connection, row), promised_share(row)
    if promised is None:
        return None
    begun = events.begun_on(_history(connection, row), EVERYTHING, DOUBTFUL)
    days = doubtful_days(connection, row, since_day=begun, before_day=now_ns // DAY_NS)
    return follow_doubtful(days, promised)


def note_alarms(ledger: Ledger) -> None:
    """Write alarms into the history that are not there yet."""
    now_ns = ledger.clock()
    with ledger.read() as connection:
        rows = [
            row
            for row in load_all(connection).values()
            if row == of_images(connection, row) and _new_alarm(connection, row, now_ns=now_ns)
        ]
    for row in rows:
        with ledger.write() as connection:
            lock(connection, Lock.VERSION, row.watched_version_id)
            note_alarm(connection, row, now_ns=now_ns)


def note_alarm(connection: Connection, row: WatchedVersion, *, now_ns: int) -> None:
    """Write the alarm into the history of `of_images`, if there is one that is not there yet. The
    day that raised it takes the place of a label as its name.
    """
    day = _new_alarm(connection, row, now_ns=now_ns)
    if day is not None:
        detail = {"day": day, "promised": promised_share(row)}
        key = row.watched_version_id
        events.record(connection, key, ALARM, detail, feedback_id=day, now_ns=now_ns, name=DOUBTFUL)


def _new_alarm(connection: Connection, row: WatchedVersion, *, now_ns: int) -> int | None:
    """Return the day that raised an alarm which the history does not end with."""
    restarts = [each.kind for each in _history(connection, row) if each.kind in _DECIDING]
    if restarts[-1:] == [ALARM]:
        return None
    evidence = find_evidence(connection, row, now_ns=now_ns)
    return evidence.raised_on if evidence else None


_DECIDING = (ALARM, *events.AFRESH)


def _history(connection: Connection, row: WatchedVersion) -> list[Event]:
    """The events of this watch, and what restarts it with that of all answers."""
    return [
        each
        for each in events.read_all(connection, row.watched_version_id)
        if each.name == DOUBTFUL or (each.name == EVERYTHING and each.kind in events.AFRESH)
    ]
