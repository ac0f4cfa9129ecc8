"""Pruning: answers older than the retention are deleted with their labels, in short transactions
beside the servers.

What reports need remains: the day sums, and the detector's state among the events. A label that
arrives for a pruned answer gets `expired`.
"""

import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, delete, exists, func, select, true, tuple_

from monitoring.drift import watch
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import lock_versions
from monitoring.ledger.predictions import first_id, note_done, pruned_before_ns, set_pruned_before
from monitoring.ledger.schema import (
    APART_NS,
    DAY_NS,
    feedback,
    feedback_pending,
    patient_bet,
    picture,
    prediction,
    watched_versions,
)
from monitoring.maintenance import Progress, silent

_log = logging.getLogger(__name__)
_PORTION = 5_000


@dataclass
class Pruned:
    """How many rows were deleted, of answers served before `before_ns`, the start of a UTC day."""

    before_ns: int
    answers: int = 0
    labels: int = 0
    waiting: int = 0


def prune(
    ledger: Ledger, *, older_than_s: float, progress: Progress = silent, now_ns: int | None = None
) -> Pruned:
    """Delete answers of UTC days that ended so long ago. If interrupted, run it again.

    `now_ns`: a time that is known to be right; by default, that of the ledger's clock.
    """
    now_ns = ledger.clock() if now_ns is None else now_ns
    before_ns = (now_ns - round(older_than_s * 1e9)) // DAY_NS * DAY_NS
    pruned = Pruned(before_ns)
    _leave_the_future(ledger, now_ns)
    _announce(ledger, before_ns, now_ns)
    # a UUIDv7 starts with the milliseconds
    limit = first_id(before_ns)
    older = select(func.count()).where(prediction.c.prediction_id < limit)
    with ledger.survey() as connection:
        total = connection.scalar(older) or 0
    after = b""
    while (last := _next_portion(ledger, after, limit)) is not None:
        pruned.answers += _delete_answers(ledger, (after, last), before_ns)
        after = last
        progress("answers", min(pruned.answers, total), total)
    _delete_feedback(ledger, limit, pruned, progress)
    waiting, bets = feedback_pending.c, patient_bet.c
    pruned.waiting = _delete_older(
        ledger, waiting.received_at_ns, before_ns, waiting.model, waiting.request_id
    )
    oldest_ns = min(before_ns, now_ns - APART_NS)
    _delete_older(ledger, bets.served_at_ns, oldest_ns, bets.watched_version_id, bets.patient)
    with ledger.write() as connection:
        note_done(connection, "prune", ledger.clock())
    return pruned


def _leave_the_future(ledger: Ledger, now_ns: int) -> None:
    """Take back a watermark ahead of now; labels of later answers would expire."""
    tomorrow_ns = (now_ns // DAY_NS + 1) * DAY_NS
    with ledger.write() as connection:
        if pruned_before_ns(connection) > tomorrow_ns:
            set_pruned_before(connection, tomorrow_ns)
            _log.warning(
                "the ledger was pruned by a clock that was ahead; labels are taken again from "
                "tomorrow on (UTC)"
            )


def _announce(ledger: Ledger, before_ns: int, now_ns: int) -> None:
    """Save the detectors and set the watermark: labels of older answers expire from now on."""
    with ledger.write() as connection:
        ids = connection.scalars(select(watched_versions.c.watched_version_id)).all()
        lock_versions(connection, ids)
        if before_ns > pruned_before_ns(connection):
            for watched_version_id in ids:
                watch.checkpoint(connection, watched_version_id, "pruned", now_ns=now_ns)
            set_pruned_before(connection, before_ns)


def _next_portion(ledger: Ledger, after: bytes, limit: bytes) -> bytes | None:
    key = prediction.c.prediction_id
    chosen = select(key).where(key > after, key < limit).order_by(key).limit(_PORTION).subquery()
    with ledger.survey() as connection:
        found: bytes | None = connection.scalar(
            select(chosen.c.prediction_id).order_by(chosen.c.prediction_id.desc()).limit(1)
        )
    return found


def _delete_answers(ledger: Ledger, keys: tuple[bytes, bytes], before_ns: int) -> int:
    """Delete those of a portion: keys above the first, up to the second.

    Without a lower bound, PostgreSQL would read again what the portions before have deleted.
    """
    with ledger.write() as connection:
        old = _within(prediction, keys) & (prediction.c.served_at_ns < before_ns)
        count = connection.execute(delete(prediction).where(old)).rowcount
        left = select(prediction.c.prediction_id).where(_within(prediction, keys))
        bare = _within(picture, keys) & picture.c.prediction_id.not_in(left)
        connection.execute(delete(picture).where(bare))
    return count


def _within(table: Table, keys: tuple[bytes, bytes]) -> ColumnElement[bool]:
    after, last = keys
    return (table.c.prediction_id > after) & (table.c.prediction_id <= last)


def _delete_feedback(ledger: Ledger, limit: bytes, pruned: Pruned, progress: Progress) -> None:
    number = feedback.c.feedback_id
    with ledger.survey() as connection:
        first, last = connection.execute(select(func.min(number), func.max(number))).one()
    if first is None:
        return
    for start in range(first, last + 1, _PORTION):
        old = (feedback.c.prediction_id < limit) & ~_has_answer(feedback.c.prediction_id)
        with ledger.write() as connection:
            within = number.between(start, start + _PORTION - 1)
            pruned.labels += connection.execute(delete(feedback).where(within, old)).rowcount
        progress("labels", min(start + _PORTION, last + 1) - first, last + 1 - first)


def _delete_older(ledger: Ledger, times: Column[int], before_ns: int, *key: Column[Any]) -> int:
    """Delete the rows of a table with earlier times, a portion of their keys at a time.

    Returns how many.
    """
    count, place = 0, tuple_(*key)
    later: ColumnElement[bool] = true()
    while True:
        with ledger.survey() as connection:
            rest = select(*key).where(later).order_by(*key)
            found = connection.execute(rest.limit(_PORTION)).all()
        if not found:
            return count
        last = tuple_(*found[-1])
        with ledger.write() as connection:
            old = later & (place <= last) & (times < before_ns)
            count += connection.execute(delete(times.table).where(old)).rowcount
        later = place > last


def _has_answer(prediction_id: ColumnElement[bytes]) -> ColumnElement[bool]:
    return exists().where(prediction.c.prediction_id == prediction_id)
