"""Reading the sums by slice and confidence bin over days: what a report is computed from.

A report costs the same for ten thousand answers as for ten million. With fifty values of a tag, a
year has half a million day sums but only two thousand totals, so a report over all days reads the
totals.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, cast, select

from calibration.bins import BIN_COUNT, BinSums
from monitoring.ledger.schema import EVERYTHING, bin_day, bin_total
from monitoring.ledger.slices import DOUBTFUL
from monitoring.ledger.statement import summed
from monitoring.ledger.sum_tables import COUNTS, DAYS, FIXED_POINT


@dataclass(frozen=True)
class LedgerSums:
    """Sums over days, (M,) each: of labeled answers, and of all served ones."""

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
    """Return the sums of a version or of one slice; `since_day` counts from 1970."""
    wanted, name = _wanted(connection, watched_version_id, since_day)
    return as_sums(row._asdict() for row in connection.execute(wanted.where(name == slice)))


def read_slices(
    connection: Connection,
    watched_version_id: int,
    *,
    since_day: int | None = None,
    besides: Sequence[str] = (),
) -> dict[str, LedgerSums]:
    """Return the sums of every slice ('': everything) but `besides` and doubtful images."""
    wanted, name = _wanted(connection, watched_version_id, since_day)
    by_slice: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(wanted.where(name.not_in(besides), ~name.startswith(DOUBTFUL))):
        by_slice[row.slice].append(row._asdict())
    return {name: as_sums(rows) for name, rows in sorted(by_slice.items())}


def as_sums(rows: Iterable[dict[str, Any]]) -> LedgerSums:
    """Return rows by column name, at most one per bin, as arrays."""
    by_bin = {row["bin"]: row for row in rows}
    empty = {column.name: 0 for column in DAYS.sums}
    filled = [by_bin.get(number, empty) for number in range(BIN_COUNT)]
    return LedgerSums(
        labeled=BinSums.from_rows(filled),
        served=np.array([row["served"] for row in filled], dtype=np.int64),
        served_confidence=np.array([row["served_confidence"] for row in filled], dtype=np.float64),
    )


def _wanted(
    connection: Connection, watched_version_id: int, since_day: int | None
) -> tuple[Select[Any], ColumnElement[str]]:
    """Select (slice, bin, seven sums) of a version; return also the column of the slice."""
    from_start = since_day is None or not _answered_before(
        connection, watched_version_id, since_day
    )
    table = bin_total if from_start else bin_day
    columns = table.c
    sums = [
        _as_number(summed(columns[sum_.name]), sum_, in_units=from_start).label(sum_.name)
        for sum_ in DAYS.sums
    ]
    wanted = select(columns.slice, columns.bin, *sums).group_by(columns.slice, columns.bin)
    wanted = wanted.where(columns.watched_version_id == watched_version_id)
    return (wanted if from_start else wanted.where(columns.day >= since_day)), columns.slice


def _answered_before(connection: Connection, watched_version_id: int, day: int) -> bool:
    columns = bin_day.c
    earlier = select(columns.day).where(
        columns.watched_version_id == watched_version_id, columns.slice == EVERYTHING
    )
    return connection.scalar(earlier.where(columns.day < day).limit(1)) is not None


def _as_number(
    total: ColumnElement[Any], column: ColumnElement[Any], *, in_units: bool
) -> ColumnElement[Any]:
    """A sum as the day sums hold it; dividing by a power of two rounds at most once."""
    if not in_units or column.name in COUNTS:
        return total
    return cast(total, column.type) / FIXED_POINT
