"""Statements compiled once and run with plain tuples: the hot path pays for the database, not for building SQL.

The one place of the ledger that knows how SQLite and PostgreSQL spell things: alike, but in two modules.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Dialect, Row, Select, Table
from sqlalchemy.dialects import postgresql, sqlite

from monitoring.ledger.direct import run_directly

_INSERTS: Mapping[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_DIALECTS: Mapping[str, Dialect] = {
    "sqlite": sqlite.dialect(),
    "postgresql": postgresql.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]
}

_AT_ONCE = 1024  # parameters of one SELECT


class Statement:
    """An INSERT whose parameters are all of the table's columns, in their order."""

    def __init__(self, table: Table, *, on_conflict: Callable[[Any, Any], ColumnElement[Any]] | None = None) -> None:
        self._sql = {name: _compiled(name, table, on_conflict) for name in _DIALECTS}

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows; without rows nothing is run."""
        sql = self._sql[connection.dialect.name]
        if rows and not run_directly(connection, sql, rows):
            connection.exec_driver_sql(sql, list(rows))


class Lookup:
    """A SELECT without WHERE, run for many values of one column."""

    def __init__(self, wanted: Select[Any], column: Column[Any]) -> None:
        self._sql = {name: str(wanted.compile(dialect=dialect)) for name, dialect in _DIALECTS.items()}
        self._column = f"{column.table.name}.{column.name}"

    def run(self, connection: Connection, values: Sequence[Any]) -> list[Row[Any]]:
        """The rows for these values, in no order."""
        sql = f"{self._sql[connection.dialect.name]} WHERE {self._column}"
        rows: list[Row[Any]] = []
        for start in range(0, len(values), _AT_ONCE):
            chosen = tuple(values[start : start + _AT_ONCE])
            if connection.dialect.name == "postgresql":
                rows += connection.exec_driver_sql(f"{sql} = ANY(%s)", (list(chosen),)).all()
            else:
                rows += connection.exec_driver_sql(f"{sql} IN ({','.join('?' * len(chosen))})", chosen).all()
        return rows


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
