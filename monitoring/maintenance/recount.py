"""Recounts: everything derived from answers and labels is computed again, compared and, if asked,
repaired.

Facts (`prediction`, `feedback`, `monitor_event`) are taken as true, and so are the day sums of
pruned answers. Recounted are the current labels, the day sums of every slice since the
watermark of pruning, the totals over all days, and the detectors, replayed
label by label.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from sqlalchemy import Connection, Select, case, delete, func, select

from calibration import wording
from monitoring.drift import watch
from monitoring.drift.replay import replay
from monitoring.drift.source_change import models_in_change
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import lock_tables, lock_versions
from monitoring.ledger.predictions import pruned_before_ns
from monitoring.ledger.schema import (
    DAY_NS,
    bin_day,
    bin_total,
    feedback,
    label_current,
    monitor_state,
    prediction,
)
from monitoring.ledger.sum_changes import SumChanges
from monitoring.ledger.sum_tables import (
    DAYS,
    TOTALS,
    UNITS,
    SliceNames,
    SumKey,
    TotalKey,
    rebuild_totals,
    totaled,
)
from monitoring.ledger.watched_version import CountsAs
from monitoring.maintenance import Progress, silent

SHOWN = 20  # mismatches per table that are described one by one
TOLERANCE = 1e-6  # float64 adds only two million answers of a day and bin exactly
_PORTION = 20_000
_Key = TypeVar("_Key", SumKey, TotalKey)


class Mismatch(NamedTuple):
    """One value that differs from the recount."""

    table: str
    where: str
    found: str
    expected: str


@dataclass
class Recount:
    """What was counted and what differs; at most SHOWN mismatches per table are described."""

    answers: int = 0
    labels: int = 0
    day_sums: int = 0
    detectors: int = 0
    differing: dict[str, int] = field(default_factory=dict)  # by table
    differences: list[Mismatch] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not self.differing

    def differ(self, table: str, where: str, found: object, expected: object) -> None:
        self.differing[table] = self.differing.get(table, 0) + 1
        if self.differing[table] <= SHOWN:
            self.differences.append(Mismatch(table, where, str(found), str(expected)))


def check(ledger: Ledger, *, progress: Progress = silent) -> Recount:
    """Recount on one snapshot while servers go on writing; change nothing."""
    counted = Recount()
    with ledger.survey() as connection:
        known = versions.load_all(connection)
        first_day = pruned_before_ns(connection) // DAY_NS
        _compare_labels(connection, counted)
        changes = _recounted(connection, counted, progress)
        days = changes.totals(connection, SliceNames(known, admits=False))
        _compare_sums(connection, counted, days, changes, first_day)
        _compare_detectors(connection, counted, progress)
    return counted


def repair(ledger: Ledger, *, progress: Progress = silent) -> Recount:
    """Recount and correct in one transaction; servers that write wait for it or fail."""
    counted = Recount()
    with ledger.write() as connection:
        known = versions.load_all(connection)
        first_day = pruned_before_ns(connection) // DAY_NS
        lock_versions(connection, known)
        lock_tables(connection, prediction, bin_day, bin_total)
        if _compare_labels(connection, counted):
            _rewrite_labels(connection)
        changes = _recounted(connection, counted, progress)
        days = changes.totals(connection, SliceNames(known))
        wrong = _compare_sums(connection, counted, days, changes, first_day)
        if bin_day.name in wrong:
            DAYS.rewrite(connection, days, first_day=first_day)
        if bin_total.name in wrong:
            rebuild_totals(connection)
        for watched in _compare_detectors(connection, counted, progress):
            watched.save(connection)
    return counted


def _labels_from_feedback() -> Select[Any]:
    """Select the rows that label_current should have, in the order of its columns."""
    before = func.lag(feedback.c.label).over(
        partition_by=feedback.c.prediction_id, order_by=feedback.c.feedback_id
    )
    truths = (
        select(*feedback.columns, case((before != feedback.c.label, 1), else_=0).label("changed"))
        .where(feedback.c.counts_as == CountsAs.TRUTH)
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


def _stored_labels() -> Select[Any]:
    return select(label_current).join(
        prediction, prediction.c.prediction_id == label_current.c.prediction_id
    )


def _compare_labels(connection: Connection, counted: Recount) -> bool:
    """Return whether any current label differs from the feedback."""
    expected, stored = _labels_from_feedback(), _stored_labels()
    for wanted, side in (
        (expected.except_(stored), "missing or wrong"),
        (stored.except_(expected), "too much"),
    ):
        for row in connection.execute(wanted):
            counted.differ(
                "label_current", f"answer {row.prediction_id.hex()}", side, "as feedback says"
            )
    return "label_current" in counted.differing


def _rewrite_labels(connection: Connection) -> None:
    known = select(prediction.c.prediction_id)
    connection.execute(delete(label_current).where(label_current.c.prediction_id.in_(known)))
    names = [column.name for column in label_current.columns]
    connection.execute(label_current.insert().from_select(names, _labels_from_feedback()))


def _recounted(connection: Connection, counted: Recount, progress: Progress) -> SumChanges:
    changes = SumChanges()
    total = connection.scalar(select(func.count()).select_from(prediction)) or 0
    first_ns = pruned_before_ns(connection)
    for rows in _portions(connection):
        # if pruning was interrupted, a row's day may no longer be counted
        kept = [row for row in rows if row.served_at_ns >= first_ns]
        labeled = [row for row in kept if row.label is not None]
        changes.serve(kept)
        changes.label(labeled, [row.label for row in labeled])
        counted.labels += len(labeled)
        counted.answers += len(rows)
        progress("answers", counted.answers, total)
    return changes


def _portions(connection: Connection) -> Iterator[Sequence[Any]]:
    joined = prediction.outerjoin(
        label_current, label_current.c.prediction_id == prediction.c.prediction_id
    )
    wanted = select(prediction, label_current.c.label).select_from(joined)
    yield from connection.execute(wanted.execution_options(yield_per=_PORTION)).partitions()


def _compare_sums(
    connection: Connection,
    counted: Recount,
    days: Mapping[SumKey, Sequence[float]],
    changes: SumChanges,
    first_day: int,
) -> set[str]:
    """Compare all sums with the recount; return the tables that differ.

    Totals are those of the recounted days and of the pruned ones.
    """
    stored = DAYS.read(connection)
    pruned = ((key.total, sums) for key, sums in stored.items() if key.day < first_day)
    totals = totaled(itertools.chain(pruned, ((key.total, sums) for key, sums in days.items())))
    stored_days = {key: sums for key, sums in stored.items() if key.day >= first_day}
    counted.day_sums = len(stored_days)
    _compare_rows(counted, bin_day.name, stored_days, days, [TOLERANCE] * len(UNITS))
    tolerances = [TOLERANCE * unit for unit in UNITS]
    _compare_rows(counted, bin_total.name, TOTALS.read(connection), totals, tolerances)
    return set(counted.differing)


def _compare_rows(
    counted: Recount,
    table: str,
    stored: Mapping[_Key, Sequence[float]],
    recounted: Mapping[_Key, Sequence[float]],
    tolerances: Sequence[float],
) -> None:
    for key in sorted(stored.keys() | recounted.keys()):
        found, expected = stored.get(key, 0), recounted.get(key, 0)
        if not (np.abs(np.subtract(found, expected)) <= tolerances).all():  # NaN differs too
            where = ", ".join(f"{name} {value}" for name, value in key._asdict().items())
            counted.differ(table, where, found, expected)


def _compare_detectors(
    connection: Connection, counted: Recount, progress: Progress
) -> list[watch.Watched]:
    """Return the replayed detectors of those that differ."""
    wrong = []
    keys = (monitor_state.c.watched_version_id, monitor_state.c.slice)
    ids = connection.execute(select(*keys).order_by(*keys)).all()
    in_change = models_in_change(connection)  # their watches see the labels that count at the end
    known = versions.load_all(connection)
    ids = [row for row in ids if known[row[0]].model not in in_change]
    for watched_version_id, name in ids:
        stored = watch.load(connection, watched_version_id, name)
        replayed = replay(connection, watched_version_id, name)
        if stored is not None and stored.detector.state.as_dict() != replayed.state.as_dict():
            found, expected = (
                wording.counted(state.labels, "label") for state in (stored.detector, replayed)
            )
            where = f"watched version {watched_version_id}" + (f", {name}" if name else "")
            counted.differ("monitor_state", where, found, f"{expected}, replayed")
            wrong.append(dataclasses.replace(stored, detector=replayed))
        counted.detectors += 1
        progress("detectors", counted.detectors, len(ids))
    return wrong
