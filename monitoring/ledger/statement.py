"""Inserts compiled once and run with plain tuples: the hot path pays for the database, not for building SQL.
 The one place of the ledger that knows a dialect: SQLite and PostgreSQL spell the conflict clause alike, but
in two modules.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects import sqlite


class Statement:
    """An INSERT whose parameters are all of the table's columns, in their order."""

    def __init__(self, table: Table, *, on_conflict: Callable[[Any, Any], ColumnElement[Any]] | None = None) -> None:
        insert = sqlite.insert(table)
        if on_conflict is not None:
            values = [column for column in table.columns if not column.primary_key]
            insert = insert.on_conflict_do_update(
                index_elements=list(table.primary_key),
                set_={column.name: on_conflict(column, insert.excluded[column.name]) for column in values},
            )
        self._sql = str(insert.compile(dialect=sqlite.dialect()))

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows; without rows nothing is run."""
        if rows:
            connection.exec_driver_sql(self._sql, list(rows))


def inserting(table: Table) -> Statement:
    """New rows only; a key that exists is an IntegrityError."""
    return Statement(table)


def replacing(table: Table) -> Statement:
    """New rows, or new values for the keys that exist."""
    return Statement(table, on_conflict=lambda _old, new: new)


def adding(table: Table) -> Statement:
    """New rows, or sums added to those of the keys that exist."""
    return Statement(table, on_conflict=lambda old, new: old + new)
