"""The totals over all days of each slice and bin: kept beside the day sums, so that a report over a year reads no days.

Derived from the day sums and changed in the same transaction; exact, whatever the order of writers. With fifty values
of a tag there are half a million day sums in a year, and two thousand totals.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
)

from monitoring.ledger.grid import GRID, units
from monitoring.ledger.schema import bin_day, bin_total
from monitoring.ledger.statement import adding


class TotalKey(NamedTuple):
    """A row of the totals, whatever its shard."""

    calibration_id: int
    slice: str
    bin: int


SUMS = tuple(column for column in bin_day.columns if not column.primary_key)
_COUNTS = frozenset(column.name for column in SUMS if isinstance(column.type, BigInteger))
_ADD = adding(bin_total)
UNITS = tuple(1.0 if column.name in _COUNTS else GRID for column in SUMS)  # to one, in each sum


def add_totals(connection: Connection, changes: Mapping[TotalKey, Sequence[int]], *, shard: int = 0) -> None:
    """Add to rows of the totals, in the order of their keys; values as `as_units` gives them."""
    _ADD.run(connection, [(*key, shard, *changes[key]) for key in sorted(changes)])


def totaled(days: Iterable[tuple[TotalKey, Sequence[float]]]) -> dict[TotalKey, list[int]]:
    """Rows of day sums (all seven, as the columns stand) put together, in units."""
    found: dict[TotalKey, list[int]] = defaultdict(lambda: [0] * len(SUMS))
    for key, sums in days:
        total = found[key]
        for index, value in enumerate(as_units(sums)):
            total[index] += value
    return found


def as_units(sums: Sequence[float]) -> list[int]:
    """Seven sums as the totals have them: counts as they are, the others in units."""
    served, served_confidence, n, confidence, correct, variance, squared_error = sums
    return [
        int(served),
        units(served_confidence),
        int(n),
        units(confidence),
        int(correct),
        units(variance),
        units(squared_error),
    ]


def summed_totals(calibration_id: int) -> Select[Any]:
    """(slice, bin, seven sums) of a calibration, shards put together, in the day sums' own terms."""
    columns = bin_total.c
    sums = [_plain(bin_total.c[column.name], column) for column in SUMS]
    wanted = select(columns.slice, columns.bin, *sums).where(columns.calibration_id == calibration_id)
    return wanted.group_by(columns.slice, columns.bin)


def stored_totals(connection: Connection) -> dict[TotalKey, list[int]]:
    """Every total as it is kept, shards put together."""
    keys = (bin_total.c.calibration_id, bin_total.c.slice, bin_total.c.bin)
    sums = [cast(func.sum(bin_total.c[column.name]), BigInteger) for column in SUMS]
    rows = connection.execute(select(*keys, *sums).group_by(*keys))
    return {TotalKey(*row[:3]): list(row[3:]) for row in rows}


def rebuild_totals(connection: Connection, cells: Iterable[tuple[int, int]] | None = None) -> None:
    """Add the day sums up anew: all of them, or those of these (calibration id, bin). Keep writers out meanwhile."""
    if cells is None:
        _rebuild(connection)
        return
    for calibration_id, bin_number in sorted(cells):
        _rebuild(connection, calibration_id=calibration_id, bin=bin_number)


def _rebuild(connection: Connection, **cell: int) -> None:
    keys = (bin_day.c.calibration_id, bin_day.c.slice, bin_day.c.bin)
    sums = [cast(func.sum(_whole(column)), BigInteger) for column in SUMS]
    counted = or_(func.sum(bin_day.c.served) != 0, func.sum(bin_day.c.n) != 0)
    anew = select(*keys, literal(0), *sums).filter_by(**cell).group_by(*keys).having(counted)
    connection.execute(delete(bin_total).filter_by(**cell))
    connection.execute(insert(bin_total).from_select([column.name for column in bin_total.columns], anew))


def _whole(column: Column[Any]) -> ColumnElement[Any]:
    """A day sum in the totals' terms."""
    return column if column.name in _COUNTS else cast(func.round(column * GRID), BigInteger)


def _plain(total: Column[Any], column: Column[Any]) -> ColumnElement[Any]:
    """A total in the day sums' terms; dividing by a power of two rounds once, if at all."""
    summed = cast(func.sum(total), BigInteger)
    named = summed if column.name in _COUNTS else cast(summed, column.type) / GRID
    return named.label(column.name)
