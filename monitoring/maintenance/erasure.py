"""Erasure of single answers at a person's request: the answer, its tags, labels and picture, and
its share of the sums.

A day sum of a small slice may describe one person, so the sums are reduced too; those of brightness
are deleted for the whole day. The drift detector is not changed: it is a product of bets over all
labels, from which no single label can be recovered. Its state is saved as an event, so that replays
agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, cast, delete, func, select, update

from calibration.bins import bin_index
from monitoring.drift import watch
from monitoring.ledger import versions
from monitoring.ledger.class_sums import ClassKey, subtract_class_sums
from monitoring.ledger.database import Ledger
from monitoring.ledger.inputs import forget_inputs
from monitoring.ledger.locks import Lock, lock, lock_tables, lock_versions
from monitoring.ledger.pictures import drop_pictures
from monitoring.ledger.schema import (
    DAY_NS,
    bin_day,
    bin_total,
    class_day,
    feedback,
    feedback_pending,
    input_day,
    label_current,
    monitor_event,
    monitor_state,
    prediction,
    tag_value,
    watched_versions,
)
from monitoring.ledger.slices import ERASED, SliceKeys, SliceNames
from monitoring.ledger.sum_changes import Counted, DayBin, SumChanges
from monitoring.ledger.sums import SUMS, SumKey, add_days, rebuild_totals


@dataclass(frozen=True)
class Erased:
    """How many rows were deleted."""

    answers: int
    labels: int
    waiting: int


def forget(
    ledger: Ledger, *, prediction_id: bytes | None = None, request_id: str | None = None
) -> Erased:
    """Erase the answer with this id, or all answers and waiting labels with this request id. May be
    repeated.
    """
    with ledger.write() as connection:
        ledger.dialect.overwrite_deleted(connection)
        if request_id is not None:
            lock(connection, Lock.REQUESTS)
        named = (
            prediction.c.prediction_id == prediction_id
            if prediction_id is not None
            else prediction.c.request_id == request_id
        )
        ids = connection.scalars(select(prediction.c.prediction_id).where(named)).all()
        labels = _erase(connection, ids, now_ns=ledger.clock()) if ids else 0
        waiting = 0
        if request_id is not None:
            held = delete(feedback_pending).where(feedback_pending.c.request_id == request_id)
            waiting = connection.execute(held).rowcount
    ledger.dialect.scrub_log(ledger.url)
    return Erased(len(ids), labels, waiting)


def _erase(connection: Connection, ids: Sequence[bytes], *, now_ns: int) -> int:
    """Erase these answers; return how many labels and corrections were deleted with them."""
    served_by = (
        select(prediction.c.watched_version_id)
        .where(prediction.c.prediction_id.in_(ids))
        .distinct()
    )
    watched_version_ids = connection.scalars(served_by).all()
    lock_versions(connection, watched_version_ids)
    lock_tables(connection, bin_day, bin_total, class_day, input_day)
    totals, classes, tags = _shares(connection, ids, watched_version_ids)
    labels = 0
    labeled = connection.execute(
        select(label_current).where(label_current.c.prediction_id.in_(ids))
    ).all()
    for watched_version_id in sorted({row.watched_version_id for row in labeled}):
        watch.checkpoint(connection, watched_version_id, "erased", now_ns=now_ns)
    for row in labeled:  # corrections follow the first label, so the search is a range of ids
        said = (feedback.c.feedback_id >= row.first_feedback_id) & (
            feedback.c.prediction_id == row.prediction_id
        )
        labels += connection.execute(delete(feedback).where(said)).rowcount
    for table in (label_current, prediction):
        connection.execute(delete(table).where(table.c.prediction_id.in_(ids)))
    drop_pictures(connection, ids)
    _subtract(connection, totals)
    subtract_class_sums(connection, classes)
    for cell in {(key.watched_version_id, key.day, key.bin) for key in totals}:
        _drop_zeros(connection, *cell)
    forget_inputs(connection, {(key.watched_version_id, key.day) for key in totals})
    rebuild_totals(connection, {(key.watched_version_id, key.bin) for key in totals})
    for model, key, value in tags:
        _forget_value(connection, model, key, value)
    return labels


def _shares(
    connection: Connection, ids: Sequence[bytes], watched_version_ids: Sequence[int]
) -> tuple[dict[SumKey, list[float]], dict[ClassKey, list[int]], set[tuple[str, str, str]]]:
    """Return what these answers added to the day sums and class sums, and (model, key, value) of
    their tags.
    """
    known = {row.watched_version_id: row for row in versions.load(connection, watched_version_ids)}
    joined = prediction.outerjoin(
        label_current, label_current.c.prediction_id == prediction.c.prediction_id
    )
    wanted = (
        select(prediction, label_current.c.label)
        .select_from(joined)
        .where(prediction.c.prediction_id.in_(ids))
    )
    changes, slices, tags = (
        SumChanges(),
        SliceNames(known, admits=False),
        set[tuple[str, str, str]](),
    )
    slices.begin()
    for row in connection.execute(wanted).all():
        bin_number = int(bin_index(np.array(row.confidence)))
        day_bin = DayBin(row.watched_version_id, row.served_at_ns // DAY_NS, bin_number)
        keys = SliceKeys(row.predicted, row.tags, row.audit is not None)
        answer = Counted(day_bin, row.confidence, keys, row.probabilities)
        changes.serve(answer)
        if row.label is not None:
            changes.label(answer, row.label)
        tags |= {(known[row.watched_version_id].model, *pair) for pair in slices.values(row.tags)}
    return changes.totals(connection, slices), changes.classes.rows(), tags


def _subtract(connection: Connection, totals: dict[SumKey, list[float]]) -> None:
    """Subtract the shares over all shards; rows that become zero are deleted."""
    left: dict[SumKey, list[float]] = {}
    for key, share in totals.items():
        same = [bin_day.c[name] == value for name, value in key._asdict().items()]
        stored = connection.execute(
            select(*(cast(func.sum(column), column.type) for column in SUMS)).where(*same)
        )
        row = stored.one()
        connection.execute(delete(bin_day).where(*same))
        rest = [(had or 0) - gone for had, gone in zip(row, share, strict=True)]
        if any(abs(value) > 1e-9 for value in rest):
            left[key] = rest
    add_days(connection, left)


def _drop_zeros(connection: Connection, watched_version_id: int, day: int, bin_number: int) -> None:
    """Delete rows that count nothing, such as a corrected label leaves in its old class."""
    cell = [
        bin_day.c.watched_version_id == watched_version_id,
        bin_day.c.day == day,
        bin_day.c.bin == bin_number,
    ]
    counts = func.sum(bin_day.c.served), func.sum(bin_day.c.n)
    empty = (
        select(bin_day.c.slice)
        .where(*cell)
        .group_by(bin_day.c.slice)
        .having(counts[0] == 0, counts[1] == 0)
    )
    connection.execute(
        delete(bin_day).where(*cell, bin_day.c.slice.in_(connection.scalars(empty).all()))
    )


def _forget_value(connection: Connection, model: str, key: str, value: str) -> None:
    """Overwrite a tag value that no sum counts any more; its slot stays taken, so no other answer
    changes its slice.
    """
    of_model = select(watched_versions.c.watched_version_id).where(
        watched_versions.c.model == model
    )
    name = f"tag:{key}={value}"
    counted = (
        select(1)
        .where(bin_day.c.slice == name, bin_day.c.watched_version_id.in_(of_model))
        .limit(1)
    )
    if connection.scalar(counted) is None:
        this = (tag_value.c.model == model) & (tag_value.c.key == key)
        taken = (
            connection.scalar(
                select(func.count()).where(this, tag_value.c.value.like(f"{ERASED}%"))
            )
            or 0
        )
        blotted = f"{ERASED} {taken + 1}"
        connection.execute(
            update(tag_value).where(this, tag_value.c.value == value).values(value=blotted)
        )
        for table in (monitor_state, monitor_event):
            theirs = (table.c.slice == name) & table.c.watched_version_id.in_(of_model)
            connection.execute(update(table).where(theirs).values(slice=f"tag:{key}={blotted}"))
