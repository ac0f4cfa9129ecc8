"""Searches the answers of a version, the newest first, in pages by key.

Answers are read in the order of the key, from the last to the first day of the version, at most
SEARCHED rows of the ledger for a page: the time of a page is bounded however large the ledger is,
and however rare what is searched for.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, func, not_, or_, select, true

from calibration.scope.verdict import ALPHA
from monitoring.ledger.dialects import dialect_of
from monitoring.ledger.predictions import finding_id, first_id, pruned_before_ns
from monitoring.ledger.schema import DAY_NS, EVERYTHING, IS_LABELED, bin_day, prediction
from monitoring.ledger.sum_tables import OTHER, admitted
from monitoring.ledger.watched_version import WatchedVersion

SEARCHED: Final = 100_000  # rows for a page, those of other versions included
_FIRST: Final = 5_000  # of them at first, because most searches find enough there
_EVERY_ID: Final = (b"", b"\xff" * 16)
_GROWTH: Final = 4  # as many more each time


@dataclass(frozen=True, kw_only=True)
class AnswerSearch:
    """Which answers are wanted; what is left out asks nothing.

    Attributes:
        tags: keys and values; the value `(other)` stands for those without a slice of their own,
            and `A,B` for A or B, if these have slices and the whole has none.
        first_day, last_day: UTC days since 1970 on which answers were served, both included.
        confidence: above the first number, up to the second; of a finding, of its presence.
        predicted, label: classes of the card; of a finding, what its threshold decides. `A,B` is
            predicted A or B, as with tags.
        wrong: whether the label contradicts the answer; of a finding, its threshold's decision.
        labeled: whether there is a label that counts as truth.
        audited: drawn for the random audit.
        others: those that are not as all of `tags`, `confidence` and `predicted` say.
        doubtful: of an image with a scope p-value up to ALPHA, as reports count them, whatever
            alpha servers answer by.
        images: ids of images; however old, they are found.
    """

    tags: tuple[tuple[str, str], ...] = ()
    first_day: int | None = None
    last_day: int | None = None
    confidence: tuple[float, float] | None = None
    predicted: str | None = None
    label: str | None = None
    wrong: bool | None = None
    labeled: bool | None = None
    audited: bool = False
    others: bool = False
    doubtful: bool = False
    images: tuple[bytes, ...] | None = None


class FoundAnswer(NamedTuple):
    """A row that was found, with its current label, None without one."""

    prediction_id: bytes
    request_id: str | None
    served_at_ns: int
    tags: str | None
    predicted: int
    confidence: float
    audit: float | None
    scope_p: float | None
    label: int | None


class FoundPage(NamedTuple):
    """Answers, the newest first; `before`: the id before which to go on, None if that is all."""

    answers: list[FoundAnswer]
    before: bytes | None


def search(
    connection: Connection,
    row: WatchedVersion,
    wanted: AnswerSearch,
    *,
    before: bytes | None = None,
    limit: int,
) -> FoundPage:
    """Return up to `limit` answers of a version with ids below `before`, by default the newest."""
    matching = _matching(connection, row, wanted)
    if wanted.images is not None:
        return FoundPage(_read(connection, matching, *_EVERY_ID, limit), None)
    low, high = _range(connection, row, wanted)
    high = min(high, before or high)
    found: list[FoundAnswer] = []
    left, portion = SEARCHED, _FIRST
    while low < high:
        if left <= 0:
            return FoundPage(found, high.ljust(16, b"\0"))
        looked_at, floor = _portion(connection, low, high, min(portion, left))
        room = limit + 1 - len(found)  # one more says whether there is another page
        found += _read(connection, matching, floor, high, room)
        if len(found) > limit:
            return FoundPage(found[:limit], found[limit - 1].prediction_id)
        left, portion, high = left - looked_at, _GROWTH * portion, floor
    return FoundPage(found, None)


def is_wrong(row: WatchedVersion, answer: FoundAnswer) -> bool | None:
    """Return whether its label contradicts an answer, as `AnswerSearch.wrong`; None if unknown."""
    said, _ = row.said(answer.predicted, answer.confidence)
    return None if answer.label is None else answer.label != said


def _range(
    connection: Connection, row: WatchedVersion, wanted: AnswerSearch
) -> tuple[bytes, bytes]:
    """The ids [low, high) that answers of the version can have on the days that are wanted."""
    days = bin_day.c.day
    served = select(func.min(days), func.max(days)).filter_by(
        watched_version_id=row.watched_version_id, slice=EVERYTHING
    )
    first, last = connection.execute(served).one()
    if first is None:
        return b"", b""
    first = max(first, pruned_before_ns(connection) // DAY_NS, wanted.first_day or 0)
    last = last if wanted.last_day is None else min(last, wanted.last_day)
    # The time in an id may differ by a day from that of serving.
    return first_id((first - 1) * DAY_NS), first_id((last + 2) * DAY_NS)


def alternatives(known: Collection[str], value: str) -> list[str]:
    """Return the values that a filter means by one.

    >>> alternatives({"A", "B"}, "A,B"), alternatives({"A", "A,B"}, "A,B")
    (['A', 'B'], ['A,B'])
    """
    several = value.split(",")
    return several if value not in known and all(each in known for each in several) else [value]


def _between(column: Any, least: int | None, most: int | None) -> list[ColumnElement[bool]]:
    ends = [] if least is None else [column >= least]
    return ends if most is None else [*ends, column <= most]


def _portion(connection: Connection, low: bytes, high: bytes, size: int) -> tuple[int, bytes]:
    """How many rows the range has, up to `size`, and the id at which so many end."""
    key = prediction.c.prediction_id
    newest = select(key).where(key >= low, key < high).order_by(key.desc())
    floor: bytes | None = connection.scalar(newest.limit(1).offset(size - 1))
    if floor is not None:
        return size, floor
    count = connection.scalar(select(func.count()).select_from(newest.limit(size).subquery()))
    return count or 0, low


def _read(
    connection: Connection, matching: Select[Any], low: bytes, high: bytes, limit: int
) -> list[FoundAnswer]:
    key = prediction.c.prediction_id
    page = matching.where(key >= low, key < high).order_by(key.desc()).limit(limit)
    return [FoundAnswer._make(row) for row in connection.execute(page)]


_ROWS = select(*(prediction.c[name] for name in FoundAnswer._fields))


def _matching(connection: Connection, row: WatchedVersion, wanted: AnswerSearch) -> Select[Any]:
    answer = prediction.c
    group = list(_group(connection, row, wanted))
    conditions = [answer.watched_version_id == row.watched_version_id]
    conditions += [not_(and_(true(), *group))] if wanted.others else group
    conditions += _between(
        answer.served_at_ns,
        None if wanted.first_day is None else wanted.first_day * DAY_NS,
        None if wanted.last_day is None else (wanted.last_day + 1) * DAY_NS - 1,
    )
    if wanted.label is not None:
        conditions.append(answer.label == row.class_index[wanted.label])
    if wanted.wrong is not None:
        conditions.append(row.contradicted(wanted.wrong))
    if wanted.labeled is not None:
        conditions.append(IS_LABELED if wanted.labeled else not_(IS_LABELED))
    if wanted.audited:
        conditions.append(answer.audit.is_not(None))
    if wanted.doubtful:
        conditions.append(answer.scope_p <= ALPHA)
    if wanted.images is not None:
        ids = [finding_id(each, row.finding) for each in wanted.images]
        conditions.append(answer.prediction_id.in_(ids))
    return _ROWS.where(*conditions)


def _group(
    connection: Connection, row: WatchedVersion, wanted: AnswerSearch
) -> Iterator[ColumnElement[bool]]:
    """Conditions on confidence, predicted class and tags."""
    if wanted.confidence is not None:
        above, upto = wanted.confidence
        yield prediction.c.confidence <= upto
        yield prediction.c.confidence > (above or -1.0)
    if wanted.predicted is not None:
        meant = alternatives(row.class_index, wanted.predicted)
        yield or_(*(row.says(row.class_index[each]) for each in meant))
    known = admitted(connection, row.model) if wanted.tags else {}
    for key, value in wanted.tags:
        meant = alternatives(known[key], value)
        yield or_(*(_has_tag(connection, known[key], key, each) for each in meant))


def _has_tag(
    connection: Connection, known: Collection[str], key: str, value: str
) -> ColumnElement[bool]:
    if value != OTHER:
        return _contains(connection, json.dumps({key: value})[1:-1])
    named = (_contains(connection, json.dumps({key: each})[1:-1]) for each in sorted(known))
    return and_(_contains(connection, f'"{key}": "'), *map(not_, named))


def _contains(connection: Connection, pair: str) -> ColumnElement[bool]:
    """Whether the tags have this pair: in JSON, its quotes stand nowhere but around names."""
    tags = func.coalesce(prediction.c.tags, "")
    return dialect_of(connection).position(tags, pair) > 0
