"""Reading the sums by slice and confidence bin over days: what a report is computed from.

A report costs the same for ten thousand answers as for ten million. With fifty values of a tag, a
year has half a million day sums but only two thousand totals, so a report over all days reads the
totals.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import (
    Connection,
    CursorResult,
    Select,
    bindparam,
    func,
    select,
)

from calibration.bins import BIN_COUNT, BinSums
from monitoring.ledger.schema import EVERYTHING, bin_day, bin_total, input_day
from monitoring.ledger.sum_tables import (
    DAYS,
    DOUBTFUL,
    GRAY_UNIT,
    INPUT_SUMS,
    added,
    summed,
)


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
    rows = _rows(connection, watched_version_id, since_day, one=True, slice=slice)
    return as_sums(row._asdict() for row in rows)


def read_slices(
    connection: Connection,
    watched_version_id: int,
    *,
    since_day: int | None = None,
    besides: Sequence[str] = (),
) -> dict[str, LedgerSums]:
    """Return the sums of every slice ('': everything) but `besides` and doubtful images."""
    by_slice: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _rows(connection, watched_version_id, since_day, one=False, besides=besides):
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


def _rows(
    connection: Connection,
    watched_version_id: int,
    since_day: int | None,
    *,
    one: bool,
    **which: Any,
) -> CursorResult[Any]:
    from_start = since_day is None or not _answered_before(
        connection, watched_version_id, since_day
    )
    asked = which | {"key": watched_version_id}
    asked |= {} if from_start else {"since_day": since_day}
    return connection.execute(_statement(from_start, one), asked)


@cache
def _statement(from_start: bool, one: bool) -> Select[Any]:
    """Select (slice, bin, seven sums) of a version: of one slice, or of all but some. It is built
    once, which takes longer than SQLite needs to run it.
    """
    columns = (bin_total if from_start else bin_day).c
    sums = [summed(columns[sum_.name]).label(sum_.name) for sum_ in DAYS.sums]
    wanted = select(columns.slice, columns.bin, *sums).group_by(columns.slice, columns.bin)
    wanted = wanted.where(columns.watched_version_id == bindparam("key"))
    if not from_start:
        wanted = wanted.where(columns.day >= bindparam("since_day"))
    if one:
        return wanted.where(columns.slice == bindparam("slice"))
    besides = columns.slice.not_in(bindparam("besides", expanding=True))
    return wanted.where(besides, ~columns.slice.startswith(DOUBTFUL))


def _answered_before(connection: Connection, watched_version_id: int, day: int) -> bool:
    columns = bin_day.c
    earlier = select(columns.day).where(
        columns.watched_version_id == watched_version_id, columns.slice == EVERYTHING
    )
    return connection.scalar(earlier.where(columns.day < day).limit(1)) is not None


@dataclass(frozen=True)
class Inputs:
    """Gray levels of `n` inputs: means over images, standard deviations between them.

    `trained_on`: how many of them the model has seen in training.
    """

    n: int
    mean: float
    mean_sd: float
    contrast: float
    contrast_sd: float
    trained_on: int = 0


def read_inputs(
    connection: Connection, watched_version_id: int, *, since_day: int | None = None
) -> Inputs:
    """Return the brightness of a version's inputs since that day; NaN without inputs."""
    sums = (func.coalesce(added(column), 0) for column in INPUT_SUMS)
    wanted = select(*sums).where(
        input_day.c.watched_version_id == watched_version_id, input_day.c.day >= (since_day or 0)
    )
    n, *levels, trained_on = connection.execute(wanted).one()
    if not n:
        return Inputs(0, math.nan, math.nan, math.nan, math.nan)
    mean, mean_squared, contrast, contrast_squared = (value * GRAY_UNIT / n for value in levels)
    return Inputs(
        n,
        mean,
        _spread(mean, mean_squared),
        contrast,
        _spread(contrast, contrast_squared),
        trained_on,
    )


def _spread(mean: float, squared: float) -> float:
    return math.sqrt(max(squared - mean * mean, 0.0))
