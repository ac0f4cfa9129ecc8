"""The sums per slice, day and confidence bin, and their totals over all days.

A report is computed from these sums, so it costs the same for ten thousand answers as for ten
million. Every term is a multiple of 2^-32, on which additions are exact in any order: the sums
depend neither on the order of answers, nor on how they shared commits, nor on which process wrote
them, and a recount equals them bit for bit. float64 adds two million such terms of at most 1
without rounding, enough for the answers of a day in one bin. Totals are integers in units of 2^-32;
64 bits suffice for two billion answers.

With fifty values of a tag, a year has half a million day sums but only two thousand totals, so a
report over all days reads the totals.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
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

from calibration.bins import BIN_COUNT, BinSums
from monitoring.ledger.schema import EVERYTHING, bin_day, bin_total
from monitoring.ledger.statement import adding

FIXED_POINT = 2.0**32


def to_fixed_point(value: float) -> float:
    """Return the multiple of 2^-32 nearest to `value`."""
    return round(value * FIXED_POINT) / FIXED_POINT


def units(value: float) -> int:
    """Return `value` in units of 2^-32, rounded.

    >>> units(0.5), units(1.0) == 2**32
    (2147483648, True)
    """
    return round(value * FIXED_POINT)


class TotalKey(NamedTuple):
    """The key of the totals, without the shard."""

    watched_version_id: int
    slice: str
    bin: int


SUMS = tuple(column for column in bin_day.columns if not column.primary_key)
_COUNTS = frozenset(column.name for column in SUMS if isinstance(column.type, BigInteger))
_ADD_TOTALS = adding(bin_total)
UNITS = tuple(
    1.0 if column.name in _COUNTS else FIXED_POINT for column in SUMS
)  # units per 1, for each sum


def add_totals(
    connection: Connection, changes: Mapping[TotalKey, Sequence[int]], *, shard: int = 0
) -> None:
    """Add to rows of the totals in the order of their keys; values as `as_units` returns them."""
    _ADD_TOTALS.run(connection, [(*key, shard, *changes[key]) for key in sorted(changes)])


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


def summed_totals(watched_version_id: int) -> Select[Any]:
    """Select (slice, bin, seven sums) of a version over all shards, as floats like the day
    sums.
    """
    columns = bin_total.c
    sums = [_plain(bin_total.c[column.name], column) for column in SUMS]
    wanted = select(columns.slice, columns.bin, *sums).where(
        columns.watched_version_id == watched_version_id
    )
    return wanted.group_by(columns.slice, columns.bin)


def stored_totals(connection: Connection) -> dict[TotalKey, list[int]]:
    """Return every stored total, over all shards."""
    keys = (bin_total.c.watched_version_id, bin_total.c.slice, bin_total.c.bin)
    sums = [cast(func.sum(bin_total.c[column.name]), BigInteger) for column in SUMS]
    rows = connection.execute(select(*keys, *sums).group_by(*keys))
    return {TotalKey(*row[:3]): list(row[3:]) for row in rows}


def rebuild_totals(connection: Connection, cells: Iterable[tuple[int, int]] | None = None) -> None:
    """Recompute totals from the day sums: all, or those of these (watched version id, bin). Keep
    other writers out.
    """
    if cells is None:
        _rebuild(connection)
        return
    for watched_version_id, bin_number in sorted(cells):
        _rebuild(connection, watched_version_id=watched_version_id, bin=bin_number)


def _rebuild(connection: Connection, **cell: int) -> None:
    keys = (bin_day.c.watched_version_id, bin_day.c.slice, bin_day.c.bin)
    sums = [cast(func.sum(_whole(column)), BigInteger) for column in SUMS]
    counted = or_(func.sum(bin_day.c.served) != 0, func.sum(bin_day.c.n) != 0)
    recomputed = select(*keys, literal(0), *sums).filter_by(**cell).group_by(*keys).having(counted)
    connection.execute(delete(bin_total).filter_by(**cell))
    connection.execute(
        insert(bin_total).from_select([column.name for column in bin_total.columns], recomputed)
    )


def _whole(column: Column[Any]) -> ColumnElement[Any]:
    """A day sum in units."""
    return column if column.name in _COUNTS else cast(func.round(column * FIXED_POINT), BigInteger)


def _plain(total: Column[Any], column: Column[Any]) -> ColumnElement[Any]:
    """A total as a float; dividing by a power of two rounds at most once."""
    summed = cast(func.sum(total), BigInteger)
    named = summed if column.name in _COUNTS else cast(summed, column.type) / FIXED_POINT
    return named.label(column.name)


class SumKey(NamedTuple):
    """The key of the day sums, without the shard."""

    watched_version_id: int
    slice: str
    day: int
    bin: int

    @property
    def total(self) -> TotalKey:
        """The key of the totals that include it."""
        return TotalKey(self.watched_version_id, self.slice, self.bin)


_ADD_DAYS = adding(bin_day)


def add_sums(
    connection: Connection, totals: Mapping[SumKey, Sequence[float]], *, shard: int = 0
) -> None:
    """Add to rows of the day sums and of their totals, each in the order of their keys."""
    add_days(connection, totals, shard=shard)
    add_totals(connection, totaled((key.total, sums) for key, sums in totals.items()), shard=shard)


def add_days(
    connection: Connection, totals: Mapping[SumKey, Sequence[float]], *, shard: int = 0
) -> None:
    """Add to rows of the day sums alone; the caller must update the totals."""
    _ADD_DAYS.run(connection, [(*key, shard, *totals[key]) for key in sorted(totals)])


@dataclass(frozen=True)
class LedgerSums:
    """Sums of one version over days: of labeled answers, and of all served answers ((M,)
    arrays).
    """

    labeled: BinSums
    served: np.ndarray
    served_confidence: np.ndarray


def read_sums(
    connection: Connection,
    watched_version_id: int,
    *,
    slice: str = EVERYTHING,  # noqa: A002 the column's name
    since_day: int | None = None,
) -> LedgerSums:
    """Return the sums of a version or of one slice; `since_day` is the first day, in days since
    1970.
    """
    if _from_the_start(connection, watched_version_id, since_day):
        wanted = summed_totals(watched_version_id).where(bin_total.c.slice == slice)
    else:
        wanted = _summed_days(watched_version_id, since_day).where(bin_day.c.slice == slice)
    return _as_arrays(row._asdict() for row in connection.execute(wanted))


def read_slices(
    connection: Connection,
    watched_version_id: int,
    *,
    since_day: int | None = None,
    besides: Sequence[str] = (),
) -> dict[str, LedgerSums]:
    """Return the sums of every slice since `since_day`, except those in `besides`; slice '' is
    everything.
    """
    if _from_the_start(connection, watched_version_id, since_day):
        wanted = summed_totals(watched_version_id).where(bin_total.c.slice.not_in(besides))
    else:
        wanted = _summed_days(watched_version_id, since_day).where(bin_day.c.slice.not_in(besides))
    by_slice: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(wanted):
        by_slice[row.slice].append(row._asdict())
    return {name: _as_arrays(rows) for name, rows in sorted(by_slice.items())}


def _from_the_start(connection: Connection, watched_version_id: int, since_day: int | None) -> bool:
    """Return whether no day is earlier, so that the totals can be read instead."""
    if since_day is None:
        return True
    columns = bin_day.c
    earlier = select(columns.day).where(
        columns.watched_version_id == watched_version_id, columns.slice == EVERYTHING
    )
    return connection.scalar(earlier.where(columns.day < since_day).limit(1)) is None


def _summed_days(watched_version_id: int, since_day: int | None) -> Select[Any]:
    columns = bin_day.c
    sums = [cast(func.sum(column), column.type).label(column.name) for column in SUMS]
    wanted = select(columns.slice, columns.bin, *sums).where(
        columns.watched_version_id == watched_version_id
    )
    return wanted.where(columns.day >= (since_day or 0)).group_by(columns.slice, columns.bin)


def _as_arrays(rows: Iterable[dict[str, Any]]) -> LedgerSums:
    found = {row["bin"]: row for row in rows}
    empty = {column.name: 0 for column in bin_day.columns}
    filled = [found.get(bin_number, empty) for bin_number in range(BIN_COUNT)]
    return LedgerSums(
        labeled=BinSums.from_rows(filled),
        served=np.array([row["served"] for row in filled], dtype=np.int64),
        served_confidence=np.array([row["served_confidence"] for row in filled], dtype=np.float64),
    )
