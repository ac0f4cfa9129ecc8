"""Answers that wait for a label, in the order in which people should label them.

Those drawn for the random audit come first, because they alone say how accurate the model is on
what it serves. Then come those below the referral threshold, then the oldest; in the queue `random`
all others by the random part of their ids. Only the latest LOOKED_AT answers are looked at, so that
the cost does not grow with the ledger. Those about doubtful images have a queue apart, and their
labels a source of their own: they are chosen, and say nothing about other answers.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select

from calibration.scope.verdict import ALPHA
from monitoring.ledger.predictions import finding_id
from monitoring.ledger.schema import IS_LABELED, feedback, prediction
from monitoring.ledger.watched_version import CountsAs, WatchedVersion

LOOKED_AT = 20_000
Queue = Literal["usual", "random", "doubtful"]
_RANDOM_FROM = 9  # byte of an id, counted from 1


@dataclass(frozen=True)
class WaitingAnswer:
    """An answer without a label. What it says is left out: who labels should not see it.

    `prediction_id` is that of the image, also where the answer is about a finding in it.
    """

    prediction_id: bytes
    request_id: str | None
    served_at_ns: int
    tags: str | None
    drawn: bool


@dataclass(frozen=True)
class WaitingCounts:
    """How many answers wait: `drawn` for the audit, and `others`; `doubtful`, of the others."""

    drawn: int
    others: int
    doubtful: int


@dataclass(frozen=True)
class Revision:
    """One label of an answer. `label`: index of the class."""

    label: int
    source: str | None
    received_at_ns: int


def count_waiting(connection: Connection, row: WatchedVersion) -> WaitingCounts:
    latest = _unlabeled(row).subquery()
    columns = latest.c
    doubtful = func.sum(case((_is_doubtful(columns), 1), else_=0))
    drawn, every, of_others = connection.execute(
        select(func.count(columns.audit), func.count(), doubtful).select_from(latest)
    ).one()
    return WaitingCounts(drawn, every - drawn, int(of_others or 0))


def find_waiting(
    connection: Connection,
    row: WatchedVersion,
    *,
    queue: Queue = "usual",
    skip: int = 0,
    limit: int = 1,
) -> list[WaitingAnswer]:
    """Return the answers to label next, after `skip` others, at most `limit`.

    The queue `doubtful` has only those about doubtful images, the oldest first. It leaves out those
    drawn for the audit, so what it chooses never changes which of these get a label.
    """
    latest = _unlabeled(row).subquery()
    columns = latest.c
    referral = row.card.get("referral")
    sure = row.certainty(columns.confidence)
    order = [
        columns.audit.is_(None),
        *([] if referral is None else [sure >= referral["threshold"]]),
    ]
    wanted = select(latest).order_by(*order, columns.prediction_id)
    if queue == "random":
        drawn_first = columns.audit.is_(None)
        by_chance = func.substr(columns.prediction_id, _RANDOM_FROM)
        wanted = select(latest).order_by(drawn_first, by_chance)
    if queue == "doubtful":
        wanted = select(latest).where(_is_doubtful(columns)).order_by(columns.prediction_id)
    return [_waiting(row, each) for each in connection.execute(wanted.limit(limit).offset(skip))]


def _is_doubtful(columns: Any) -> ColumnElement[bool]:
    return and_(columns.audit.is_(None), columns.scope_p <= ALPHA)


def find_answer(
    connection: Connection, row: WatchedVersion, prediction_id: bytes
) -> WaitingAnswer | None:
    """Return an answer of the version, labeled or not, without what it says."""
    wanted = select(*_COLUMNS).where(
        prediction.c.prediction_id == finding_id(prediction_id, row.finding),
        prediction.c.watched_version_id == row.watched_version_id,
    )
    found = connection.execute(wanted).one_or_none()
    return None if found is None else _waiting(row, found)


def revisions(connection: Connection, prediction_id: bytes) -> list[Revision]:
    """Return the labels of an answer that count as truth, oldest first.

    Others stay hidden: who labels should not lean towards a proxy or another reader.
    """
    columns = feedback.c
    wanted = select(columns.label, columns.source, columns.received_at_ns).where(
        columns.prediction_id == prediction_id, columns.counts_as == CountsAs.TRUTH
    )
    return [Revision(*found) for found in connection.execute(wanted.order_by(columns.feedback_id))]


def what_was_answered(connection: Connection, prediction_id: bytes) -> tuple[int, float] | None:
    """Return the class and the confidence of an answer that has a label; None if it has none."""
    wanted = select(prediction.c.predicted, prediction.c.confidence).where(
        prediction.c.prediction_id == prediction_id, IS_LABELED
    )
    found = connection.execute(wanted).one_or_none()
    return None if found is None else (found.predicted, found.confidence)


_COLUMNS = (
    prediction.c.prediction_id,
    prediction.c.request_id,
    prediction.c.served_at_ns,
    prediction.c.tags,
    prediction.c.audit,
)


def _unlabeled(row: WatchedVersion) -> Select[Any]:
    columns = prediction.c
    mine = select(*_COLUMNS, columns.confidence, columns.scope_p, columns.label).where(
        columns.watched_version_id == row.watched_version_id
    )
    latest = mine.order_by(columns.prediction_id.desc()).limit(LOOKED_AT).subquery()
    return select(latest).where(latest.c.label.is_(None))


def _waiting(row: WatchedVersion, found: Any) -> WaitingAnswer:
    return WaitingAnswer(
        finding_id(found.prediction_id, row.finding),
        found.request_id,
        found.served_at_ns,
        found.tags,
        drawn=found.audit is not None,
    )
