"""The day sums as series: for a chart of calibration by the day on which answers were served, and
answers by predicted class and confidence. Day sums remain when answers are pruned.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import BIN_COUNT, BinSums, IntArray
from monitoring.ledger.schema import DAY_NS, EVERYTHING, bin_day
from monitoring.ledger.statement import summed
from monitoring.ledger.versions import WatchedVersion


@dataclass(frozen=True)
class Days:
    """One day or consecutive days (UTC days since 1970, both included): answers served, and sums
    over labeled ones.
    """

    first: int
    last: int
    served: int
    labeled: BinSums

    def __str__(self) -> str:
        """The date, or both dates."""
        return (
            f"{day_date(self.first)}"
            if self.first == self.last
            else f"{day_date(self.first)} to {day_date(self.last)}"
        )


def day_date(day: int) -> date:
    """Return the date of a day number.

    >>> day_date(20_000).isoformat()
    '2024-10-04'
    """
    return datetime.fromtimestamp(day * DAY_NS / 1e9, UTC).date()


def read_days(
    connection: Connection,
    watched_version_id: int,
    *,
    since_day: int | None = None,
    name: str = EVERYTHING,
) -> list[Days]:
    """Return the days on which a version answered, oldest first, with the answers of a
    slice.
    """
    added = [
        summed(column).label(column.name) for column in bin_day.columns if not column.primary_key
    ]
    columns = bin_day.c
    wanted = select(columns.day, columns.bin, *added).where(
        columns.watched_version_id == watched_version_id, columns.slice == name
    )
    if since_day is not None:
        wanted = wanted.where(columns.day >= since_day)
    by_day: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(wanted.group_by(columns.day, columns.bin).order_by(columns.day)):
        by_day[row.day].append(row._asdict())
    return [_day(day, rows) for day, rows in by_day.items()]


def gather(days: Sequence[Days], *, most: int) -> list[Days]:
    """Merge days into at most `most` groups of equal length; groups without answers are left
    out.
    """
    if not days:
        return []
    first, step = days[0].first, -(-(days[-1].last - days[0].first + 1) // most)
    groups: dict[int, list[Days]] = defaultdict(list)
    for each in days:
        groups[(each.first - first) // step].append(each)
    return [
        Days(
            first=first + number * step,
            last=min(first + (number + 1) * step - 1, days[-1].last),
            served=sum(each.served for each in group),
            labeled=reduce(lambda one, other: one + other, (each.labeled for each in group)),
        )
        for number, group in groups.items()
    ]


def _day(day: int, rows: Sequence[dict[str, Any]]) -> Days:
    found = {row["bin"]: row for row in rows}
    empty = {column.name: 0 for column in bin_day.columns}
    filled = [found.get(number, empty) for number in range(BIN_COUNT)]
    return Days(day, day, sum(row["served"] for row in filled), BinSums.from_rows(filled))


def read_answers_by_day(
    connection: Connection, row: WatchedVersion, *, since_day: int, before_day: int
) -> list[tuple[int, IntArray]]:
    """Return (day, counts (K, BIN_COUNT)) of a version's days in [since_day, before_day),
    oldest first.
    """
    number = {f"predicted:{name}": index for index, name in enumerate(row.classes)}
    columns = bin_day.c
    wanted = (
        select(columns.day, columns.slice, columns.bin, summed(columns.served))
        .where(columns.watched_version_id == row.watched_version_id, columns.slice.in_(number))
        .where(columns.day >= since_day, columns.day < before_day)
        .group_by(columns.day, columns.slice, columns.bin)
    )
    days: dict[int, IntArray] = defaultdict(
        lambda: np.zeros((len(number), BIN_COUNT), dtype=np.int64)
    )
    for day, name, bin_number, served in connection.execute(wanted):
        days[day][number[name], bin_number] = int(served)
    return sorted(days.items(), key=lambda each: each[0])
