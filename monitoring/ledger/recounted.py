"""Current labels and sums, computed again from the facts: answers and labels.

Whatever changes the past (an erasure, a policy, a repair) changes the facts, and recounts what it
touched. The sums of answers that were pruned cannot be recounted and stay as they are.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    case,
    delete,
    func,
    or_,
    select,
    true,
)

from monitoring.ledger.predictions import first_id, pruned_before_ns
from monitoring.ledger.schema import DAY_NS, bin_day, feedback, label_current, prediction
from monitoring.ledger.sum_changes import SumChanges
from monitoring.ledger.sum_tables import DAYS, SliceNames, rebuild_totals
from monitoring.ledger.watched_version import CountsAs, WatchedVersion

_PORTION = 20_000  # answers in memory
_JOINED = label_current.c.prediction_id == prediction.c.prediction_id


def relabel(connection: Connection, watched_version_id: int | None = None) -> Sequence[Any]:
    """Set the current labels of a version, by default of all, from what their labels count as,
    while others may not label them; return the answers whose current label changed.
    """
    wrong = wrong_labels(connection, watched_version_id)
    if wrong:
        known = select(prediction.c.prediction_id).where(_of(prediction, watched_version_id))
        connection.execute(delete(label_current).where(label_current.c.prediction_id.in_(known)))
        names = [column.name for column in label_current.columns]
        right = _labels_from_feedback(watched_version_id)
        connection.execute(label_current.insert().from_select(names, right))
    return wrong


def wrong_labels(connection: Connection, watched_version_id: int | None = None) -> Sequence[Any]:
    """Return the answers (id, watched version and time) whose current label, its first label or
    its revision is not what their labels say.
    """
    compared = ("first_feedback_id", "revision", "label", "correct")
    right = _labels_from_feedback(watched_version_id).subquery()
    differs = or_(*(right.c[name].is_distinct_from(label_current.c[name]) for name in compared))
    joined = prediction.outerjoin(label_current, _JOINED).outerjoin(
        right, right.c.prediction_id == prediction.c.prediction_id
    )
    columns = prediction.c
    wanted = select(columns.prediction_id, columns.watched_version_id, columns.served_at_ns)
    mine = _of(prediction, watched_version_id)
    return connection.execute(wanted.select_from(joined).where(mine, differs)).all()


def _of(table: Table, watched_version_id: int | None) -> ColumnElement[bool]:
    every: ColumnElement[bool] = true()
    return every if watched_version_id is None else table.c.watched_version_id == watched_version_id


def _labels_from_feedback(watched_version_id: int | None) -> Select[Any]:
    """Select the rows that label_current should have, in the order of its columns."""
    before = func.lag(feedback.c.label).over(
        partition_by=feedback.c.prediction_id, order_by=feedback.c.feedback_id
    )
    truths = (
        select(*feedback.columns, case((before != feedback.c.label, 1), else_=0).label("changed"))
        .where(feedback.c.counts_as == CountsAs.TRUTH, _of(feedback, watched_version_id))
        .subquery()
    )
    answer, number = truths.c.prediction_id, truths.c.feedback_id
    labels = select(
        truths,
        func.min(number).over(partition_by=answer).label("first_feedback_id"),
        func.sum(truths.c.changed).over(partition_by=answer).label("revision"),
        func.row_number().over(partition_by=answer, order_by=number.desc()).label("age"),
    ).subquery()
    columns = (
        labels.c[column.name] for column in label_current.columns if column.name != "confidence"
    )
    joined = labels.join(prediction, prediction.c.prediction_id == labels.c.prediction_id)
    return select(*columns, prediction.c.confidence).select_from(joined).where(labels.c.age == 1)


def recount_days(
    connection: Connection, versions: Mapping[int, WatchedVersion], days: Iterable[tuple[int, int]]
) -> None:
    """Recount the sums of (watched version id, UTC day) that are not pruned, while others may not
    write sums.
    """
    first_day = pruned_before_ns(connection) // DAY_NS
    chosen = sorted(each for each in set(days) if each[1] >= first_day)
    changes = SumChanges()
    for rows in read_answers(connection, chosen):
        count(changes, rows)
    for number, day in chosen:
        connection.execute(delete(bin_day).filter_by(watched_version_id=number, day=day))
    DAYS.add(connection, changes.totals(connection, SliceNames(dict(versions), admits=False)))
    rebuild_totals(connection, {number for number, _ in chosen})


def count(changes: SumChanges, answers: Sequence[Any]) -> int:
    """Count answers and their labels, as they are read; return how many labels."""
    labeled = [row for row in answers if row.label is not None]
    changes.serve(answers)
    changes.label(labeled, [row.label for row in labeled])
    return len(labeled)


def read_answers(
    connection: Connection, days: Collection[tuple[int, int]] | None = None
) -> Iterator[list[Any]]:
    """Read answers with their labels, of these (watched version id, day) or all, in portions."""
    wanted = select(prediction, label_current.c.label).outerjoin(label_current, _JOINED)
    if days is not None:
        wanted = wanted.where(_near(days))
    rows = connection.execute(wanted.execution_options(yield_per=_PORTION))
    for portion in rows.partitions():
        yield [
            row
            for row in portion
            if days is None or (row.watched_version_id, row.served_at_ns // DAY_NS) in days
        ]


def _near(days: Collection[tuple[int, int]]) -> ColumnElement[bool]:
    """The answers of these versions with ids of about these days."""
    key, runs = prediction.c.prediction_id, list[list[int]]()
    for day in sorted({day for _, day in days}):
        if runs and day - runs[-1][-1] <= 3:
            runs[-1].append(day)
        else:
            runs.append([day])
    ends = ((first_id((run[0] - 1) * DAY_NS), first_id((run[-1] + 2) * DAY_NS)) for run in runs)
    mine = prediction.c.watched_version_id.in_({number for number, _ in days})
    return or_(False, *(key.between(*each) for each in ends)) & mine
