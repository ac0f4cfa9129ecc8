"""Current labels and sums, computed again from the facts: answers, and all that was said of them.

Whatever changes the past (an erasure, a policy, a repair) changes the facts, and recounts what it
touched. The sums of answers that were pruned cannot be recounted and stay as they are.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Subquery,
    Table,
    case,
    delete,
    func,
    or_,
    select,
    true,
)

from monitoring.ledger.database import updating
from monitoring.ledger.predictions import first_id, pruned_before_ns
from monitoring.ledger.schema import DAY_NS, bin_day, feedback, prediction
from monitoring.ledger.sum_changes import SumChanges
from monitoring.ledger.sum_tables import DAYS, SliceNames, rebuild_totals
from monitoring.ledger.watched_version import CountsAs, WatchedVersion

_PORTION = 20_000  # answers in memory
_OF_LABEL = ("label", "first_feedback_id", "revision")
_RELABEL = updating(prediction, _OF_LABEL)


def relabel(connection: Connection, watched_version_id: int | None = None) -> Sequence[Any]:
    """Set the current labels of a version, by default of all, from what their labels count as,
    while others may not label them; return the answers whose current label changed.
    """
    wrong = wrong_labels(connection, watched_version_id)
    _RELABEL.run(connection, [(*row[: len(_OF_LABEL)], row.prediction_id) for row in wrong])
    return wrong


def wrong_labels(connection: Connection, watched_version_id: int | None = None) -> Sequence[Any]:
    """Return the answers whose current label, its first label or its revision is not what their
    labels say: these three as they should be, id, watched version and time.
    """
    right, columns = _labels_from_feedback(watched_version_id), prediction.c
    joined = prediction.outerjoin(right, right.c.prediction_id == columns.prediction_id)
    differs = or_(*(right.c[name].is_distinct_from(columns[name]) for name in _OF_LABEL))
    answer = (columns.prediction_id, columns.watched_version_id, columns.served_at_ns)
    wanted = select(*(right.c[name] for name in _OF_LABEL), *answer).select_from(joined)
    return connection.execute(wanted.where(_of(prediction, watched_version_id), differs)).all()


def _of(table: Table, watched_version_id: int | None) -> ColumnElement[bool]:
    every: ColumnElement[bool] = true()
    return every if watched_version_id is None else table.c.watched_version_id == watched_version_id


def _labels_from_feedback(watched_version_id: int | None) -> Subquery:
    """The labels that answers should have, by `prediction_id`."""
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
    names = ("prediction_id", *_OF_LABEL)
    return select(*(labels.c[name] for name in names)).where(labels.c.age == 1).subquery()


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
    wanted = select(prediction)
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
