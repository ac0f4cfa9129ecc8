"""Erasure of single answers at a person's request: the answer, its tags, labels and picture, and
its share of the sums.

A day sum of a small slice may describe one person, so the sums of the day are counted again, and
those of brightness deleted. The drift detector is not changed: it is a product of bets over all
labels, from which no single label can be recovered. Its state is saved as an event, so that replays
agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update

from monitoring.drift import watch
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import Lock, lock, lock_tables, lock_versions
from monitoring.ledger.pictures import drop_pictures
from monitoring.ledger.predictions import finding_id, ids_of_images
from monitoring.ledger.recounted import recount_days
from monitoring.ledger.schema import (
    DAY_NS,
    bin_day,
    bin_total,
    feedback,
    feedback_pending,
    input_day,
    monitor_event,
    monitor_state,
    patient_bet,
    prediction,
    tag_value,
    watched_versions,
)
from monitoring.ledger.sum_tables import ERASED, values_of


@dataclass(frozen=True)
class Erased:
    """How many rows were deleted."""

    answers: int
    labels: int
    waiting: int


def forget(
    ledger: Ledger, *, prediction_id: bytes | None = None, request_id: str | None = None
) -> Erased:
    """Erase the answer of this id, or answers and waiting labels of this request id."""
    with ledger.write() as connection:
        ledger.dialect.overwrite_deleted(connection)
        if request_id is not None:
            lock(connection, Lock.REQUESTS)
        named = (
            prediction.c.prediction_id.in_(ids_of_images(connection, [prediction_id]))
            if prediction_id is not None
            else prediction.c.request_id == request_id
        )
        ids = connection.scalars(select(prediction.c.prediction_id).where(named)).all()
        images, labels = _erase(connection, ids, now_ns=ledger.clock()) if ids else (0, 0)
        waiting = 0
        if request_id is not None:
            held = delete(feedback_pending).where(feedback_pending.c.request_id == request_id)
            waiting = connection.execute(held).rowcount
    ledger.dialect.scrub_log(ledger.url)
    return Erased(images, labels, waiting)


def _erase(connection: Connection, ids: Sequence[bytes], *, now_ns: int) -> tuple[int, int]:
    """Erase these answers; return of how many images, and how many labels went with them."""
    mine = prediction.c.prediction_id.in_(ids)
    served_by = select(prediction.c.watched_version_id).where(mine)
    watched_version_ids = sorted(set(connection.scalars(served_by)))
    lock_versions(connection, watched_version_ids)
    lock_tables(connection, bin_day, bin_total, input_day)
    rows = connection.execute(select(prediction).where(mine)).all()
    labeled = [row for row in rows if row.first_feedback_id is not None]
    known = {row.watched_version_id: row for row in versions.load(connection, watched_version_ids)}
    for watched_version_id in sorted({row.watched_version_id for row in labeled}):
        watch.checkpoint(connection, watched_version_id, "erased", now_ns=now_ns)
    for row in labeled:
        bet = (patient_bet.c.feedback_id == row.first_feedback_id) & (
            patient_bet.c.watched_version_id == row.watched_version_id
        )
        connection.execute(delete(patient_bet).where(bet, patient_bet.c.patient == row.patient))
    connection.execute(delete(prediction).where(mine))
    # those that do not count, too: proxies, second readings
    said = delete(feedback).where(feedback.c.prediction_id.in_(ids))
    labels = connection.execute(said).rowcount
    images = {finding_id(row.prediction_id, known[row.watched_version_id].finding) for row in rows}
    drop_pictures(connection, list(images))
    days = {(row.watched_version_id, row.served_at_ns // DAY_NS) for row in rows}
    recount_days(connection, known, days)
    for watched_version_id, day in sorted(days):
        connection.execute(
            delete(input_day).filter_by(watched_version_id=watched_version_id, day=day)
        )
    tags = {
        (known[row.watched_version_id].model, *tag) for row in rows for tag in values_of(row.tags)
    }
    for model, key, value in sorted(tags):
        _forget_value(connection, model, key, value)
    return len(images), labels


def _forget_value(connection: Connection, model: str, key: str, value: str) -> None:
    """Overwrite a tag value that no sum counts any more; its slot stays taken."""
    of_model = select(watched_versions.c.watched_version_id).filter_by(model=model)
    name = f"tag:{key}={value}"
    counted = select(bin_day.c.day).where(
        bin_day.c.slice == name, bin_day.c.watched_version_id.in_(of_model)
    )
    if connection.scalar(counted.limit(1)) is not None:
        return
    this = (tag_value.c.model == model) & (tag_value.c.key == key)
    erased = select(func.count()).where(this, tag_value.c.value.like(f"{ERASED}%"))
    blotted = f"{ERASED} {(connection.scalar(erased) or 0) + 1}"
    connection.execute(
        update(tag_value).where(this, tag_value.c.value == value).values(value=blotted)
    )
    for table in (monitor_state, monitor_event):
        theirs = (table.c.slice == name) & table.c.watched_version_id.in_(of_model)
        connection.execute(update(table).where(theirs).values(slice=f"tag:{key}={blotted}"))
