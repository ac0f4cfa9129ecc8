"""The tables of sums: by slice, day and confidence bin, their totals over all days, and by class.

Every term is a multiple of 2^-32, on which additions are exact in any order: the sums depend
neither on the order of answers, nor on how they shared commits, nor on which process wrote them,
and a recount equals them bit for bit. Day sums are float64, which adds two million such terms of
at most 1 without rounding, enough for the answers of a day in one bin. Totals and class sums are
integers in units of 2^-32; 64 bits suffice for two billion answers.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Table,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
)

from monitoring.ledger.schema import bin_day, bin_total, class_day
from monitoring.ledger.statement import adding, summed

FIXED_POINT = 2.0**32


def to_fixed_point(value: float) -> float:
    """Return the multiple of 2^-32 nearest to `value`."""
    return round(value * FIXED_POINT) / FIXED_POINT


class TotalKey(NamedTuple):
    """The key of the totals, without the shard."""

    watched_version_id: int
    slice: str
    bin: int


class SumKey(NamedTuple):
    """The key of the day sums, without the shard."""

    watched_version_id: int
    slice: str
    day: int
    bin: int

    @property
    def total(self) -> TotalKey:
        return TotalKey(self.watched_version_id, self.slice, self.bin)


class ClassKey(NamedTuple):
    """The key of the class sums, without the shard."""

    watched_version_id: int
    day: int
    predicted: int
    audited: int
    true_class: int


_Key = TypeVar("_Key", bound=tuple[Any, ...])


class SumTable(Generic[_Key]):
    """A table of sums by `key` and shard; writers spread over shards, readers add them up."""

    def __init__(self, table: Table, key: type[_Key]) -> None:
        named: Any = key
        self.table, self._make = table, named._make
        self.sums = tuple(column for column in table.columns if not column.primary_key)
        self._keys = tuple(table.c[name] for name in named._fields)
        self._add = adding(table)

    def add(
        self, connection: Connection, rows: Mapping[_Key, Sequence[float]], *, shard: int = 0
    ) -> None:
        """Add to rows, in the order of the key, so that concurrent writers cannot deadlock."""
        self._add.run(connection, [(*key, shard, *rows[key]) for key in sorted(rows)])

    def read(
        self, connection: Connection, *where: ColumnElement[bool]
    ) -> dict[_Key, Sequence[float]]:
        """Return the stored rows, over all shards."""
        wanted = select(*self._keys, *map(summed, self.sums)).where(*where).group_by(*self._keys)
        width = len(self._keys)
        rows = connection.execute(wanted)
        return {self._make(row[:width]): list(row[width:]) for row in rows}

    def subtract(self, connection: Connection, rows: Mapping[_Key, Sequence[float]]) -> None:
        """Subtract from rows over all shards; rows that become zero are deleted."""
        for key, share in rows.items():
            same = [column == value for column, value in zip(self._keys, key, strict=True)]
            stored = self.read(connection, *same).get(key, [0] * len(share))
            connection.execute(delete(self.table).where(*same))
            left = [had - gone for had, gone in zip(stored, share, strict=True)]
            if any(left):
                self.add(connection, {key: left})

    def rewrite(
        self, connection: Connection, rows: Mapping[_Key, Sequence[float]], *, first_day: int
    ) -> None:
        """Replace all rows since that day."""
        connection.execute(delete(self.table).where(self.table.c.day >= first_day))
        self.add(connection, rows)


DAYS = SumTable(bin_day, SumKey)
TOTALS = SumTable(bin_total, TotalKey)
CLASSES = SumTable(class_day, ClassKey)
COUNTS = frozenset(column.name for column in DAYS.sums if isinstance(column.type, BigInteger))
UNITS = tuple(1.0 if column.name in COUNTS else FIXED_POINT for column in DAYS.sums)  # per 1


def add_sums(
    connection: Connection, rows: Mapping[SumKey, Sequence[float]], *, shard: int = 0
) -> None:
    """Add to day sums and to their totals."""
    DAYS.add(connection, rows, shard=shard)
    TOTALS.add(connection, totaled((key.total, sums) for key, sums in rows.items()), shard=shard)


def totaled(days: Iterable[tuple[TotalKey, Sequence[float]]]) -> dict[TotalKey, list[int]]:
    """Add up rows of day sums (all seven, in the order of the columns), in the totals' units."""
    totals: dict[TotalKey, list[int]] = defaultdict(lambda: [0] * len(UNITS))
    for key, sums in days:
        total = totals[key]
        for index, value in enumerate(sums):
            if value:  # most are 0 without labels
                total[index] += round(value * UNITS[index])
    return totals


def rebuild_totals(connection: Connection, cells: Iterable[tuple[int, int]] | None = None) -> None:
    """Recompute totals, or those of these (watched version id, bin), while others may not write."""
    if cells is None:
        _rebuild(connection)
        return
    for watched_version_id, bin_number in sorted(cells):
        _rebuild(connection, watched_version_id=watched_version_id, bin=bin_number)


def _rebuild(connection: Connection, **cell: int) -> None:
    keys = (bin_day.c.watched_version_id, bin_day.c.slice, bin_day.c.bin)
    sums = [cast(func.sum(_in_units(column)), BigInteger) for column in DAYS.sums]
    counted = or_(func.sum(bin_day.c.served) != 0, func.sum(bin_day.c.n) != 0)
    recomputed = select(*keys, literal(0), *sums).filter_by(**cell).group_by(*keys).having(counted)
    connection.execute(delete(bin_total).filter_by(**cell))
    names = [column.name for column in bin_total.columns]
    connection.execute(insert(bin_total).from_select(names, recomputed))


def _in_units(column: Column[Any]) -> ColumnElement[Any]:
    return column if column.name in COUNTS else cast(func.round(column * FIXED_POINT), BigInteger)
