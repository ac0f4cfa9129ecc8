"""The totals over all days per slice and bin, so that a report over all days need not read the day
sums.

They are derived from the day sums, changed in the same transaction, and exact in any order of
writers. With fifty values of a tag, a year has half a million day sums but only two thousand
totals.
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
    """The key of the totals, without the shard."""

    calibration_id: int
    slice: str
    bin: int


SUMS = tuple(column for column in bin_day.columns if not column.primary_key)
_COUNTS = frozenset(column.name for column in SUMS if isinstance(column.type, BigInteger))
_ADD = adding(bin_total)
UNITS = tuple(
    1.0 if column.name in _COUNTS else GRID for column in SUMS
)  # units per 1, for each sum


def add_totals(
    connection: Connection, changes: Mapping[TotalKey, Sequence[int]], *, shard: int = 0
) -> None:
    """Add to rows of the totals in the order of their keys; values as `as_units` returns them."""
    _ADD.run(connection, [(*key, shard, *changes[key]) for key in sorted(changes)])


def totaled(days: Iterable[tuple[TotalKey, Sequence[float]]]) -> dict[TotalKey, list[int]]:
    """Add up rows of day sums (all seven, in the order of the columns), in units."""
    found: dict[TotalKey, list[int]] = defaultdict(lambda: [0] * len(SUMS))
    for key, sums in days:
        total = found[key]
        for index, value in enumerate(as_units(sums)):
            total[index] += value
    return found


def as_units(sums: Sequence[float]) -> list[int]:
    """Return seven sums as the totals hold them: counts unchanged, the others in units."""
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
    """Select (slice, bin, seven sums) of a calibration over all shards, as floats like the day
    sums.
    """
    columns = bin_total.c
    sums = [_plain(bin_total.c[column.name], column) for column in SUMS]
    wanted = select(columns.slice, columns.bin, *sums).where(
        columns.calibration_id == calibration_id
    )
    return wanted.group_by(columns.slice, columns.bin)


def stored_totals(connection: Connection) -> dict[TotalKey, list[int]]:
    """Return every stored total, over all shards."""
    keys = (bin_total.c.calibration_id, bin_total.c.slice, bin_total.c.bin)
    sums = [cast(func.sum(bin_total.c[column.name]), BigInteger) for column in SUMS]
    rows = connection.execute(select(*keys, *sums).group_by(*keys))
    return {TotalKey(*row[:3]): list(row[3:]) for row in rows}


def rebuild_totals(connection: Connection, cells: Iterable[tuple[int, int]] | None = None) -> None:
    """Recompute totals from the day sums: all, or those of these (calibration id, bin). Keep other
    writers out.
    """
    if cells is None:
        _rebuild(connection)
        return
    for calibration_id, bin_number in sorted(cells):
        _rebuild(connection, calibration_id=calibration_id, bin=bin_number)


def _rebuild(connection: Connection, **cell: int) -> None:
    keys = (bin_day.c.calibration_id, bin_day.c.slice, bin_day.c.bin)
    sums = [cast(func.sum(_whole(column)), BigInteger) for column in SUMS]
    counted = or_(func.sum(bin_day.c.served) != 0, func.sum(bin_day.c.n) != 0)
    recomputed = select(*keys, literal(0), *sums).filter_by(**cell).group_by(*keys).having(counted)
    connection.execute(delete(bin_total).filter_by(**cell))
    connection.execute(
        insert(bin_total).from_select([column.name for column in bin_total.columns], recomputed)
    )


def _whole(column: Column[Any]) -> ColumnElement[Any]:
    """A day sum in units."""
    return column if column.name in _COUNTS else cast(func.round(column * GRID), BigInteger)


def _plain(total: Column[Any], column: Column[Any]) -> ColumnElement[Any]:
    """A total as a float; dividing by a power of two rounds at most once."""
    summed = cast(func.sum(total), BigInteger)
    named = summed if column.name in _COUNTS else cast(summed, column.type) / GRID
    return named.label(column.name)
