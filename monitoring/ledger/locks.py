"""Locks between the writers of one ledger. With one writer at a time (SQLite) they do nothing.

Locks are advisory and end with the transaction. To rule out deadlocks, a transaction takes them in
the order of `Lock`, versions in the order of their ids, and changes day sums last, in the order
of their key.
"""

from collections.abc import Iterable
from enum import IntEnum

from sqlalchemy import Connection, Table

from monitoring.ledger.dialects import dialect_of

NAMESPACE = 0x43_41_4E_00  # "CAN", to differ from the locks of other programs in the same database


class Lock(IntEnum):
    """In the order in which they may be taken."""

    SCHEMA = 0  # creating the tables
    # shared: writing answers with request ids; exclusive: looking for such answers, or logging
    # answers
    REQUESTS = 1
    VERSION = 2  # one per watched version: its labels and its detector
    PROMOTIONS = 3
    TAGS = 4  # admitting tag values
    LEADER = 5  # held by a session, never together with others: see maintenance/worker.py


def lock(connection: Connection, which: Lock, key: int = 0) -> None:
    dialect_of(connection).lock(connection, NAMESPACE + which, key)


def share(connection: Connection, which: Lock) -> None:
    """Wait for this lock and hold it together with others that share it."""
    dialect_of(connection).lock(connection, NAMESPACE + which, 0, shared=True)


def lock_versions(connection: Connection, watched_version_ids: Iterable[int]) -> bool:
    """Lock each version; return whether others may have written before."""
    for watched_version_id in sorted(watched_version_ids):
        lock(connection, Lock.VERSION, watched_version_id)
    return dialect_of(connection).many_writers


def lock_tables(connection: Connection, *tables: Table) -> None:
    """Keep other writers, not readers, from these tables until the transaction ends."""
    dialect_of(connection).lock_tables(connection, tables)
