"""Answers that wait for a label, in the order in which people should label them.

Those drawn for the random audit come first, because they alone say how accurate the model is on
what it serves. Then come those below the referral threshold, then the oldest. Only the latest
LOOKED_AT answers are looked at, so that the cost does not grow with the ledger.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, select

from monitoring.ledger.findings import finding_id
from monitoring.ledger.label_sources import CountsAs
from monitoring.ledger.schema import feedback, label_current, prediction
from monitoring.ledger.versions import WatchedVersion

LOOKED_AT = 20_000


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
    """How many answers wait; `drawn`: those of them that were drawn for the audit."""

    drawn: int
    others: int


@dataclass(frozen=True)
class Revision:
    """One label of an answer. `label`: index of the class."""

    label: int
    source: str | None
    received_at_ns: int


def count_waiting(connection: Connection, row: WatchedVersion) -> WaitingCounts:
    """Count the answers of a version that wait."""
    latest = _unlabeled(row).subquery()
    drawn, every = connection.execute(
        select(func.count(latest.c.audit), func.count()).select_from(latest)
    ).one()
    return WaitingCounts(drawn, every - drawn)


def next_waiting(
    connection: Connection, row: WatchedVersion, *, skip: int = 0
) -> WaitingAnswer | None:
    """Return the answer to label next, after `skip` others; None if no more wait."""
    latest = _unlabeled(row).subquery()
    columns = latest.c
    referral = row.card.get("referral")
    sure: ColumnElement[Any] = columns.confidence
    if row.finding:  # whose confidence is that it is present, or else that it is absent
        sure = case((sure < 1 - sure, 1 - sure), else_=sure)
    order = [
        columns.audit.is_(None),
        *([] if referral is None else [sure >= referral["threshold"]]),
    ]
    wanted = select(latest).order_by(*order, columns.prediction_id).limit(1).offset(skip)
    return _waiting(row, connection.execute(wanted).one_or_none())


def find_answer(
    connection: Connection, row: WatchedVersion, prediction_id: bytes
) -> WaitingAnswer | None:
    """Return an answer of the version, labeled or not, without what it says."""
    wanted = select(*_COLUMNS).where(
        prediction.c.prediction_id == finding_id(prediction_id, row.finding),
        prediction.c.watched_version_id == row.watched_version_id,
    )
    return _waiting(row, connection.execute(wanted).one_or_none())


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
    wanted = (
        select(prediction.c.predicted, prediction.c.confidence)
        .join(label_current, label_current.c.prediction_id == prediction.c.prediction_id)
        .where(prediction.c.prediction_id == prediction_id)
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
    mine = select(*_COLUMNS, columns.confidence).where(
        columns.watched_version_id == row.watched_version_id
    )
    latest = mine.order_by(columns.prediction_id.desc()).limit(LOOKED_AT).subquery()
    known = select(label_current.c.prediction_id).where(
        label_current.c.prediction_id == latest.c.prediction_id
    )
    return select(latest).where(~known.exists())


def _waiting(row: WatchedVersion, found: Any) -> WaitingAnswer | None:
    if found is None:
        return None
    return WaitingAnswer(
        finding_id(found.prediction_id, row.finding),
        found.request_id,
        found.served_at_ns,
        found.tags,
        drawn=found.audit is not None,
    )
