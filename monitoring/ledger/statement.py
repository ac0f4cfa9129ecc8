"""Statements compiled once and run with plain tuples: the hot path pays for the database, not for building SQL.

The one place of the ledger that knows how SQLite and PostgreSQL spell things: alike, but in two modules.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import ClauseElement, Column, ColumnElement, Connection, Row, Select, Table

from monitoring.ledger.direct import run_directly

_POSITIONAL = {"sqlite": "qmark", "postgresql": "format"}  # how parameters are marked, in their order

_AT_ONCE = 1024  # parameters of one SELECT


class Statement:
    """An INSERT whose parameters are all of the table's columns, in their order."""

    def __init__(self, table: Table, *, on_conflict: Callable[[Any, Any], ColumnElement[Any]] | None = None) -> None:
        self._table = table
        self._on_conflict = on_conflict
        self._sql: dict[str, str] = {}  # by dialect

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows; without rows nothing is run."""
        sql = self._sql.get(connection.dialect.name) or self._compile(connection)
        if rows and not run_directly(connection, sql, rows):
            connection.exec_driver_sql(sql, list(rows))

    def _compile(self, connection: Connection) -> str:
        insert = insert_into(connection, self._table)
        if self._on_conflict is not None:
            values = [column for column in self._table.columns if not column.primary_key]
            insert = insert.on_conflict_do_update(
                index_elements=list(self._table.primary_key),
                set_={column.name: self._on_conflict(column, insert.excluded[column.name]) for column in values},
            )
        sql = self._sql[connection.dialect.name] = _text(connection, insert)
        return sql


class Lookup:
    """A SELECT without WHERE, run for many values of one column."""

    def __init__(self, wanted: Select[Any], column: Column[Any]) -> None:
        self._wanted = wanted
        self._sql: dict[str, str] = {}  # by dialect
        self._column = f"{column.table.name}.{column.name}"

    def run(self, connection: Connection, values: Sequence[Any]) -> list[Row[Any]]:
        """The rows for these values, in no order."""
        name = connection.dialect.name
        if name not in self._sql:
            self._sql[name] = f"{_text(connection, self._wanted)} WHERE {self._column}"
        sql = self._sql[name]
        rows: list[Row[Any]] = []
        for start in range(0, len(values), _AT_ONCE):
            chosen = tuple(values[start : start + _AT_ONCE])
            if name == "postgresql":
                rows += connection.exec_driver_sql(f"{sql} = ANY(%s)", (list(chosen),)).all()
            else:
                rows += connection.exec_driver_sql(f"{sql} IN ({','.join('?' * len(chosen))})", chosen).all()
        return rows


def insert_into(connection: Connection, table: Table) -> Any:
    """The dialect's own INSERT, which knows `on_conflict_do_update`."""
    return import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)


def _text(connection: Connection, statement: ClauseElement) -> str:
    dialect = connection.dialect
    return str(statement.compile(dialect=type(dialect)(paramstyle=_POSITIONAL[dialect.name])))  # type: ignore[call-arg]


def inserting(table: Table) -> Statement:
    """New rows only; a key that exists is an IntegrityError."""
    return Statement(table)


def replacing(table: Table) -> Statement:
    """New rows, or new values for the keys that exist."""
    return Statement(table, on_conflict=lambda _old, new: new)


def adding(table: Table) -> Statement:
    """New rows, or sums added to those of the keys that exist."""
    return Statement(table, on_conflict=lambda old, new: old + new)
