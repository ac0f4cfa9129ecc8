"""Inserts compiled once and run with plain tuples: the hot path pays for the database, not for building SQL.

The one place of the ledger that knows how SQLite and PostgreSQL spell things: alike, but in two modules.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERTS: Mapping[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_DIALECTS: Mapping[str, Dialect] = {
    "sqlite": sqlite.dialect(),
    "postgresql": postgresql.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]
}


class Statement:
    """An INSERT whose parameters are all of the table's columns, in their order."""

    def __init__(self, table: Table, *, on_conflict: Callable[[Any, Any], ColumnElement[Any]] | None = None) -> None:
        self._sql = {name: _compiled(name, table, on_conflict) for name in _DIALECTS}

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows; without rows nothing is run."""
        if rows:
            connection.exec_driver_sql(self._sql[connection.dialect.name], list(rows))


def insert_into(connection: Connection, table: Table) -> Any:
    """The dialect's own INSERT, which knows `on_conflict_do_update`."""
    return _INSERTS[connection.dialect.name](table)


def _compiled(dialect: str, table: Table, on_conflict: Callable[[Any, Any], ColumnElement[Any]] | None) -> str:
    insert = _INSERTS[dialect](table)
    if on_conflict is not None:
        values = [column for column in table.columns if not column.primary_key]
        insert = insert.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={column.name: on_conflict(column, insert.excluded[column.name]) for column in values},
        )
    return str(insert.compile(dialect=_DIALECTS[dialect]))


def inserting(table: Table) -> Statement:
    """New rows only; a key that exists is an IntegrityError."""
    return Statement(table)


def replacing(table: Table) -> Statement:
    """New rows, or new values for the keys that exist."""
    return Statement(table, on_conflict=lambda _old, new: new)


def adding(table: Table) -> Statement:
    """New rows, or sums added to those of the keys that exist."""
    return Statement(table, on_conflict=lambda old, new: old + new)
