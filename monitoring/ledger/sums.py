"""The sums per slice, day and confidence bin: their key, adding to them and to their totals, and
reading them.

A report is computed from these sums, so it costs the same for ten thousand answers as for ten
million. Every term is on the grid of grid.py. So the sums depend neither on the order of answers,
nor on how they shared commits, nor on which process wrote them, and a recount equals them bit for
bit.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Select, cast, func, select

from calibration.bins import BIN_COUNT, BinSums
from monitoring.ledger.schema import bin_day, bin_total
from monitoring.ledger.slices import EVERYTHING
from monitoring.ledger.statement import adding
from monitoring.ledger.totals import SUMS, TotalKey, add_totals, summed_totals, totaled

DAY_NS = 86_400_000_000_000


class SumKey(NamedTuple):
    """The key of the day sums, without the shard."""

    calibration_id: int
    slice: str
    day: int
    bin: int

    @property
    def total(self) -> TotalKey:
        """The key of the totals that include it."""
        return TotalKey(self.calibration_id, self.slice, self.bin)


_ADD = adding(bin_day)


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
    _ADD.run(connection, [(*key, shard, *totals[key]) for key in sorted(totals)])


@dataclass(frozen=True)
class LedgerSums:
    """Sums of one calibration over days: of labeled answers, and of all served answers ((M,)
    arrays).
    """

    labeled: BinSums
    served: np.ndarray
    served_confidence: np.ndarray


def read_sums(
    connection: Connection,
    calibration_id: int,
    *,
    slice: str = EVERYTHING,  # noqa: A002 the column's name
    since_day: int | None = None,
) -> LedgerSums:
    """Return the sums of a calibration or of one slice; `since_day` is the first day, in days since
    1970.
    """
    if _from_the_start(connection, calibration_id, since_day):
        wanted = summed_totals(calibration_id).where(bin_total.c.slice == slice)
    else:
        wanted = _summed_days(calibration_id, since_day).where(bin_day.c.slice == slice)
    return _as_arrays(row._asdict() for row in connection.execute(wanted))


def read_slices(
    connection: Connection,
    calibration_id: int,
    *,
    since_day: int | None = None,
    besides: Sequence[str] = (),
) -> dict[str, LedgerSums]:
    """Return the sums of every slice since `since_day`, except those in `besides`; slice '' is
    everything.
    """
    if _from_the_start(connection, calibration_id, since_day):
        wanted = summed_totals(calibration_id).where(bin_total.c.slice.not_in(besides))
    else:
        wanted = _summed_days(calibration_id, since_day).where(bin_day.c.slice.not_in(besides))
    by_slice: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(wanted):
        by_slice[row.slice].append(row._asdict())
    return {name: _as_arrays(rows) for name, rows in sorted(by_slice.items())}


def _from_the_start(connection: Connection, calibration_id: int, since_day: int | None) -> bool:
    """Return whether no day is earlier, so that the totals can be read instead."""
    if since_day is None:
        return True
    columns = bin_day.c
    earlier = select(columns.day).where(
        columns.calibration_id == calibration_id, columns.slice == EVERYTHING
    )
    return connection.scalar(earlier.where(columns.day < since_day).limit(1)) is None


def _summed_days(calibration_id: int, since_day: int | None) -> Select[Any]:
    columns = bin_day.c
    sums = [cast(func.sum(column), column.type).label(column.name) for column in SUMS]
    wanted = select(columns.slice, columns.bin, *sums).where(
        columns.calibration_id == calibration_id
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
