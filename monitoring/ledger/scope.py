"""Doubtful images in the ledger: counts by day and tag, beside what the card promises.

A doubtful image has a p-value of the scope check up to ALPHA, whatever alpha servers answer by.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, or_, select

from monitoring.ledger.database import summed
from monitoring.ledger.schema import EVERYTHING, bin_day
from monitoring.ledger.sum_tables import DOUBTFUL
from monitoring.ledger.watched_version import WatchedVersion


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
