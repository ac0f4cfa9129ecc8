"""The alarms of operating points in the history: each rate that falls below its promise, once.

What is lower follows from the labels, so none of it is saved but the event, which the leading
process writes under the slice OPERATING. It ends with the version, as the budget of its false
alarms does.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection

from monitoring.diagnosis.phrases import as_detail
from monitoring.diagnosis.reading import read_inferred
from monitoring.drift import events, watch
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import Lock, lock
from monitoring.ledger.versions import load, visible_versions
from monitoring.ledger.watched_version import WatchedVersion

OPERATING: Final = "operating"


def note_lower_rates(ledger: Ledger) -> None:
    """Write into the history which rates are lower than promised and were not before."""
    now_ns = ledger.clock()
    with ledger.read() as connection:
        keys = [each.watched_version_id for each in visible_versions(connection, now_ns=now_ns)]
        rows = load(connection, keys)
        lower = {row.watched_version_id: _lower(ledger, connection, row) for row in rows}
        new = [key for key, details in lower.items() if _new(connection, key, details)]
    for key in new:
        with ledger.write() as connection:
            lock(connection, Lock.VERSION, key)
            watched = watch.load(connection, key)
            at = {"feedback_id": watched.last_feedback_id if watched else 0, "now_ns": now_ns}
            for detail in _new(connection, key, lower[key]):
                events.record(connection, key, events.ALARM, detail, name=OPERATING, **at)


def _lower(ledger: Ledger, connection: Connection, row: WatchedVersion) -> list[dict[str, Any]]:
    found = read_inferred(ledger, connection, row).operating
    return [as_detail(each, row.finding) for each in found.lower]


def _new(
    connection: Connection, watched_version_id: int, details: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the details of rates that the history does not name."""
    history = events.read(connection, watched_version_id, OPERATING)
    noted = [_rate(event.detail) for event in history]
    return [each for each in details if _rate(each) not in noted]


def _rate(detail: dict[str, Any]) -> tuple[Any, ...]:
    return detail["rate"], detail["of"], detail["tag"]
