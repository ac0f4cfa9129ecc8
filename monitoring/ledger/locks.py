"""What writers of one PostgreSQL ledger must not do at once; on SQLite, where one writes at a time, nothing happens.

Locks are advisory and end with the transaction. Whoever takes several takes them in the order of `Lock`, calibrations
in the order of their ids, and changes day sums last, in the order of their key: so nobody waits in a circle.
"""

from collections.abc import Iterable
from enum import IntEnum

from sqlalchemy import Connection, Table

from monitoring.ledger.dialects import dialect_of

NAMESPACE = 0x43_41_4E_00  # "CAN", so as not to meet the locks of other programs in the same database


class Lock(IntEnum):
    """In the order in which they may be taken."""

    SCHEMA = 0  # making and upgrading the tables
    REQUESTS = 1  # shared: answers with request ids arrive; alone: labels look for such answers, or answers are logged
    CALIBRATION = 2  # one a calibration: its labels, and the detector that follows from them
    PROMOTIONS = 3
    TAGS = 4  # admitting tag values
    LEADER = 5  # held by a session, never with others: see maintenance/leader.py


def lock(connection: Connection, which: Lock, key: int = 0) -> None:
    """Wait until nobody else holds this lock, and hold it."""
    dialect_of(connection).lock(connection, NAMESPACE + which, key)


def share(connection: Connection, which: Lock) -> None:
    """Hold this lock with others that share it; wait for one who wants it alone."""
    dialect_of(connection).lock(connection, NAMESPACE + which, 0, shared=True)


def lock_calibrations(connection: Connection, calibration_ids: Iterable[int]) -> bool:
    """Lock each; False where locks are not needed and what was read before stays true."""
    for calibration_id in sorted(calibration_ids):
        lock(connection, Lock.CALIBRATION, calibration_id)
    return dialect_of(connection).many_writers


def lock_tables(connection: Connection, *tables: Table) -> None:
    """Let nobody else write to these tables until the transaction ends; readers are not kept out."""
    dialect_of(connection).lock_tables(connection, tables)
