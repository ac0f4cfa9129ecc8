"""The sums of slices by UTC day and bin, read at once: a report asks them many questions."""

from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from sqlalchemy import Connection, Select, bindparam, select

from calibration.bins import BIN_COUNT, BinSums, IntArray
from monitoring.ledger.schema import bin_day
from monitoring.ledger.sum_tables import COUNTS, DAYS, UNITS, added
from monitoring.ledger.sums import LedgerSums

_NAMES = [column.name for column in DAYS.sums]
_PER_ONE = np.array([1.0 if name in COUNTS else UNITS for name in _NAMES])
LABEL_SUMS = [_NAMES.index(name) for name in BinSums.__dataclass_fields__]


@dataclass(frozen=True)
class DaySums:
    """The sums of a slice in cells (C,) of a UTC day and a bin, by day; `sums`: (C, 7), as the
    table has them.
    """

    day: IntArray
    bin: IntArray
    sums: IntArray

    def since(self, day: int | None) -> "DaySums":
        """Return the days from this one on; None: all."""
        return self if day is None else self._of(self.day >= day)

    def until(self, day: int) -> "DaySums":
        """Return the days up to this one."""
        return self._of(self.day <= day)

    def after(self, day: int) -> "DaySums":
        return self.since(day + 1)

    def numbers(self) -> np.ndarray:
        """Return the sums (C, 7) as numbers."""
        return np.asarray(self.sums / _PER_ONE)

    def added(self) -> LedgerSums:
        """Return the sums over all these days."""
        totals = np.zeros((BIN_COUNT, len(_NAMES)), dtype=np.int64)
        np.add.at(totals, self.bin, self.sums)
        served, served_confidence, n, *sums = (totals / _PER_ONE).T
        return LedgerSums(
            BinSums(n.astype(np.int64), *sums), served.astype(np.int64), served_confidence
        )

    def by_day(self, *names: str) -> tuple[IntArray, IntArray]:
        """Return the days (D,), and sums of these names (D, N) over the bins of each."""
        days, number = np.unique(self.day, return_inverse=True)
        totals = np.zeros((len(days), len(names)), dtype=np.int64)
        np.add.at(totals, number, self.sums[:, [_NAMES.index(name) for name in names]])
        return days, totals

    def served_by_day(self) -> dict[int, int]:
        """Return how many answers were served on each day that has any."""
        days, served = self.by_day("served")
        counts = zip(days.tolist(), served[:, 0].tolist(), strict=True)
        return {day: count for day, count in counts if count}

    def _of(self, chosen: np.ndarray) -> "DaySums":
        return DaySums(self.day[chosen], self.bin[chosen], self.sums[chosen])


def read_day_sums(
    connection: Connection, watched_version_id: int, *names: str
) -> dict[str, DaySums]:
    """Return the sums of these slices of a version by day and bin."""
    asked = {"key": watched_version_id, "names": names}
    rows: dict[str, list[Any]] = {name: [] for name in names}
    for name, *cell in connection.execute(_statement(), asked):
        rows[name].append(cell)
    return {name: _day_sums(cells) for name, cells in rows.items()}


def _day_sums(cells: list[list[int]]) -> DaySums:
    flat = np.fromiter(chain.from_iterable(cells), dtype=np.int64)
    day, number, *sums = flat.reshape(-1, 2 + len(_NAMES)).T
    return DaySums(day, number, np.array(sums).T)


@cache
def _statement() -> Select[Any]:
    columns = bin_day.c
    key = (columns.slice, columns.day, columns.bin)
    wanted = select(*key, *map(added, DAYS.sums)).group_by(*key).order_by(columns.day)
    return wanted.where(
        columns.watched_version_id == bindparam("key"),
        columns.slice.in_(bindparam("names", expanding=True)),
    )
