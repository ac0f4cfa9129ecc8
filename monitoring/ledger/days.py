"""The day sums as series: for a chart of calibration by the day on which answers were served, and
answers by predicted class and confidence. Day sums remain when answers are pruned.

So are doubtful images, by day and tag, beside what the card promises: those with a p-value of the
scope check up to ALPHA, whatever alpha servers answer by.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, case, func, or_, select

from calibration.bins import BIN_COUNT, BIN_EDGES, BinSums, IntArray
from monitoring.ledger.predictions import first_id, pruned_before_ns
from monitoring.ledger.schema import APART_NS, DAY_NS, EVERYTHING, bin_day, prediction
from monitoring.ledger.sum_tables import DAYS, DOUBTFUL, summed
from monitoring.ledger.sums import as_sums
from monitoring.ledger.watched_version import WatchedVersion

_LATEST = 1_000  # answers of a version, of which one must name a patient


@dataclass(frozen=True)
class Days:
    """UTC days since 1970, both included: answers served, and sums over labeled ones."""

    first: int
    last: int
    served: int
    labeled: BinSums

    def __str__(self) -> str:
        first, last = day_date(self.first), day_date(self.last)
        return str(first) if first == last else f"{first} to {last}"


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
    """Return the days with answers of a version's slice, oldest first."""
    columns = bin_day.c
    sums = [summed(column).label(column.name) for column in DAYS.sums]
    wanted = select(columns.day, columns.bin, *sums).where(
        columns.watched_version_id == watched_version_id,
        columns.slice == name,
        columns.day >= (since_day or 0),
    )
    by_day: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(wanted.group_by(columns.day, columns.bin).order_by(columns.day)):
        by_day[row.day].append(row._asdict())
    days = ((day, as_sums(rows)) for day, rows in by_day.items())
    return [Days(day, day, int(sums.served.sum()), sums.labeled) for day, sums in days]


def gather(days: Sequence[Days], *, most: int) -> list[Days]:
    """Merge days into at most `most` groups of equal length, leaving out empty ones."""
    if not days:
        return []
    first, step = days[0].first, -(-(days[-1].last - days[0].first + 1) // most)
    groups: dict[int, list[Days]] = defaultdict(list)
    for day in days:
        groups[(day.first - first) // step].append(day)
    return [
        Days(
            first=first + number * step,
            last=min(first + (number + 1) * step - 1, days[-1].last),
            served=sum(day.served for day in group),
            labeled=reduce(add, (day.labeled for day in group)),
        )
        for number, group in groups.items()
    ]


def read_answers_by_day(
    connection: Connection, row: WatchedVersion, *, since_day: int, before_day: int
) -> list[tuple[int, IntArray]]:
    """Return (day, counts (K, BIN_COUNT)) of days in [since_day, before_day), oldest first.

    Of a known patient, an image counts if none was served in the `APART_NS` before it: alike images
    would look like a change of the answers. What was pruned cannot be told apart, so days with
    patients begin where the ledger still has them.
    """
    number = {f"predicted:{name}": index for index, name in enumerate(row.classes)}
    columns = bin_day.c
    wanted = (
        select(columns.day, columns.slice, columns.bin, summed(columns.served))
        .where(columns.watched_version_id == row.watched_version_id, columns.slice.in_(number))
        .where(columns.day >= since_day, columns.day < before_day)
        .group_by(columns.day, columns.slice, columns.bin)
        .order_by(columns.day)
    )
    days: dict[int, IntArray] = defaultdict(
        lambda: np.zeros((len(number), BIN_COUNT), dtype=np.int64)
    )
    for day, name, bin_number, served in connection.execute(wanted):
        days[day][number[name], bin_number] = int(served)
    repeats = _repeats(connection, row, last_day=max(days)) if days else ()
    for day, predicted, bin_number, count in repeats:
        if day in days:
            days[day][predicted, bin_number] -= count
    first_day = pruned_before_ns(connection) // DAY_NS if repeats else 0
    return [(day, counts) for day, counts in days.items() if day >= first_day]


def _repeats(connection: Connection, row: WatchedVersion, *, last_day: int) -> Sequence[Any]:
    """Day, predicted class, bin and count of images whose patient had one shortly before."""
    columns, end = prediction.c, (last_day + 1) * DAY_NS
    own = columns.watched_version_id == row.watched_version_id
    latest = select(columns.patient).where(own, columns.prediction_id < first_id(end + DAY_NS))
    latest = latest.order_by(columns.prediction_id.desc()).limit(_LATEST)
    if not connection.scalar(select(func.count(latest.subquery().c.patient))):
        return ()  # nobody names patients
    at_ns, order = columns.served_at_ns, (columns.served_at_ns, columns.prediction_id)
    before_ns = func.lag(at_ns).over(partition_by=columns.patient, order_by=order)
    named = (
        select(at_ns, columns.predicted, columns.confidence, before_ns.label("before_ns"))
        .where(own, columns.patient.is_not(None), at_ns < end)
        .subquery()
    )
    again = named.c.served_at_ns - named.c.before_ns <= APART_NS
    above = [case((named.c.confidence > edge, 1), else_=0) for edge in BIN_EDGES]
    cell = (named.c.served_at_ns // DAY_NS, named.c.predicted, sum(above[1:], above[0]))
    return connection.execute(select(*cell, func.count()).where(again).group_by(*cell)).all()


class DoubtfulDay(NamedTuple):
    """Answers of a UTC day since 1970, and how many of them were doubtful."""

    day: int
    answers: int
    doubtful: int


class DoubtfulTag(NamedTuple):
    """Answers with a tag, as `site=A`, and how many of them were doubtful."""

    tag: str
    answers: int
    doubtful: int


def promised_share(row: WatchedVersion) -> float | None:
    """Return the largest share of doubtful images that the card promises; None without any."""
    scope = row.card.get("scope")
    share = scope["flagged"]["upper"] if scope else 0.0
    return share if 0 < share < 1 else None


def doubtful_days(
    connection: Connection,
    row: WatchedVersion,
    *,
    since_day: int = 0,
    before_day: int | None = None,
) -> list[DoubtfulDay]:
    """Return the counts of each day with answers, in order."""
    columns, found = bin_day.c, defaultdict[int, dict[str, int]](dict)
    wanted = (
        select(columns.day, columns.slice, summed(columns.served))
        .where(
            columns.watched_version_id == row.watched_version_id,
            columns.slice.in_((EVERYTHING, DOUBTFUL)),
            columns.day >= since_day,
        )
        .group_by(columns.day, columns.slice)
    )
    if before_day is not None:
        wanted = wanted.where(columns.day < before_day)
    for day, name, served in connection.execute(wanted):
        found[day][name] = int(served)
    return [
        DoubtfulDay(day, counts.get(EVERYTHING, 0), counts.get(DOUBTFUL, 0))
        for day, counts in sorted(found.items())
    ]


def doubtful_tags(
    connection: Connection, row: WatchedVersion, *, since_day: int = 0
) -> list[DoubtfulTag]:
    """Return the counts of each tag, the largest share of doubtful answers first."""
    columns = bin_day.c
    wanted = (
        select(columns.slice, summed(columns.served))
        .where(
            columns.watched_version_id == row.watched_version_id,
            or_(columns.slice.startswith(_TAG), columns.slice.startswith(f"{DOUBTFUL} {_TAG}")),
            columns.day >= since_day,
        )
        .group_by(columns.slice)
    )
    served = {name: int(count) for name, count in connection.execute(wanted)}
    return sorted(_tags(served), key=lambda each: -each.doubtful / each.answers)


_TAG = "tag:"


def _tags(served: dict[str, int]) -> Iterable[DoubtfulTag]:
    for name, answers in served.items():
        if name.startswith(_TAG) and answers:
            doubtful = served.get(f"{DOUBTFUL} {name}", 0)
            yield DoubtfulTag(name.removeprefix(_TAG), answers, doubtful)
