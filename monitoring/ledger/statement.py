"""Statements compiled once and run with plain tuples, since building SQL costs the hot path."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, cast, func

from monitoring.ledger.dialects import Dialect, dialect_of

IN_LIST_LIMIT: Final = 500  # parameters in one IN list
_Value = TypeVar("_Value")


class Statement:
    """An INSERT whose parameters are all of the table's columns, in their order. Rows that follow
    each other are often equal in the columns `often_same`.
    """

    def __init__(
        self,
        table: Table,
        *,
        on_conflict: Callable[[Any, Any], ColumnElement[Any]] | None = None,
        often_same: Sequence[str] = (),
    ) -> None:
        self._often_same = tuple(map(table.columns.keys().index, often_same))
        self._table = table
        self._on_conflict = on_conflict
        self._sql: dict[Dialect, str] = {}

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows; do nothing without rows."""
        if rows:
            dialect = dialect_of(connection)
            sql = self._sql.get(dialect) or self._compile(dialect, connection)
            dialect.run_many(connection, sql, rows, often_same=self._often_same)

    def _compile(self, dialect: Dialect, connection: Connection) -> str:
        insert = dialect.insert(self._table)
        if self._on_conflict is not None:
            values = [column for column in self._table.columns if not column.primary_key]
            insert = insert.on_conflict_do_update(
                index_elements=list(self._table.primary_key),
                set_={
                    column.name: self._on_conflict(column, insert.excluded[column.name])
                    for column in values
                },
            )
        compiler: Any = type(connection.dialect)
        compiled = insert.compile(dialect=compiler(paramstyle=dialect.paramstyle))
        sql = self._sql[dialect] = str(compiled)
        return sql


def in_lists(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """Yield the values in portions that are short enough for an IN list."""
    return (values[start : start + IN_LIST_LIMIT] for start in range(0, len(values), IN_LIST_LIMIT))


def inserting(table: Table, *, often_same: Sequence[str] = ()) -> Statement:
    """Return an INSERT of new rows; an existing key raises IntegrityError."""
    return Statement(table, often_same=often_same)


def replacing(table: Table) -> Statement:
    """Return an INSERT that replaces the values of existing keys."""
    return Statement(table, on_conflict=lambda _old, new: new)


def adding(table: Table) -> Statement:
    """Return an INSERT that adds to the values of existing keys."""
    return Statement(table, on_conflict=lambda old, new: old + new)


def summed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The sum of a column in its type: PostgreSQL's is a decimal, which floats do not mix with."""
    return cast(func.sum(column), column.type)
