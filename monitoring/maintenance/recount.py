"""Recounts: everything derived from answers and labels is computed again, compared and, if asked,
repaired.

Facts (`prediction`, `feedback`, `monitor_event`) are taken as true, and so are the day sums of
pruned answers. Recounted are the current labels, the day sums of every slice and of the class
probabilities since the watermark of pruning, the totals over all days, and the detectors, replayed
label by label.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from sqlalchemy import Connection, Select, cast, delete, func, select

from calibration import wording
from calibration.bins import bin_index
from monitoring.drift import watch
from monitoring.drift.replay import replay
from monitoring.ledger import versions
from monitoring.ledger.class_sums import SUMS as CLASS_SUMS
from monitoring.ledger.class_sums import ClassKey, add_class_sums, stored_class_sums
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import lock_tables, lock_versions
from monitoring.ledger.predictions import pruned_before_ns
from monitoring.ledger.schema import (
    DAY_NS,
    bin_day,
    bin_total,
    class_day,
    feedback,
    label_current,
    monitor_state,
    prediction,
    watched_versions,
)
from monitoring.ledger.slices import SliceKeys, SliceNames
from monitoring.ledger.sum_changes import Counted, DayBin, SumChanges
from monitoring.ledger.sums import (
    SUMS,
    UNITS,
    SumKey,
    TotalKey,
    add_days,
    rebuild_totals,
    stored_totals,
    totaled,
)
from monitoring.ledger.versions import WatchedVersion
from monitoring.maintenance import Progress, silent

SHOWN = 20  # mismatches per table that are described one by one
TOLERANCE = 1e-6  # float64 adds only two million answers of a day and bin exactly
_PORTION = 20_000
_Key = TypeVar("_Key", SumKey, TotalKey, ClassKey)


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
        """Whether nothing differs."""
        return not self.differing

    def differ(self, table: str, where: str, found: object, expected: object) -> None:
        """Record a mismatch."""
        self.differing[table] = self.differing.get(table, 0) + 1
        if self.differing[table] <= SHOWN:
            self.differences.append(Mismatch(table, where, str(found), str(expected)))


def check(ledger: Ledger, *, progress: Progress = silent) -> Recount:
    """Recount on one snapshot while servers go on writing; change nothing."""
    counted = Recount()
    with ledger.read() as connection:
        known = _versions(connection)
        _compare_labels(connection, counted)
        totals, classes = _recounted(connection, counted, known, progress, admits=False)
        _compare_sums(connection, counted, totals)
        _compare_classes(connection, counted, classes)
        _compare_totals(connection, counted, totals)
        _compare_detectors(connection, counted, progress)
    return counted


def repair(ledger: Ledger, *, progress: Progress = silent) -> Recount:
    """Recount and write the right values in one transaction; servers that write wait for it or
    fail.
    """
    counted = Recount()
    with ledger.write() as connection:
        known = _versions(connection)
        lock_versions(connection, known)
        lock_tables(connection, prediction, bin_day, bin_total, class_day)
        if _compare_labels(connection, counted):
            _rewrite_labels(connection)
        totals, classes = _recounted(connection, counted, known, progress, admits=True)
        totals_differ = _compare_totals(connection, counted, totals)
        if _compare_sums(connection, counted, totals):
            _rewrite_sums(connection, totals)
        if _compare_classes(connection, counted, classes):
            _rewrite_classes(connection, classes)
        if totals_differ:
            rebuild_totals(connection)
        for watched in _compare_detectors(connection, counted, progress):
            watched.save(connection)
    return counted


def _versions(connection: Connection) -> dict[int, WatchedVersion]:
    ids = connection.scalars(select(watched_versions.c.watched_version_id)).all()
    return {row.watched_version_id: row for row in versions.load(connection, ids)}


def _labels_from_feedback() -> Select[Any]:
    """Select the rows that label_current should have, in the order of its columns."""
    answer = feedback.c.prediction_id
    labels = (
        select(
            *feedback.columns,
            func.min(feedback.c.feedback_id).over(partition_by=answer).label("first_feedback_id"),
            func.row_number()
            .over(partition_by=answer, order_by=feedback.c.revision.desc())
            .label("age"),
        )
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


def _recounted(
    connection: Connection,
    counted: Recount,
    known: dict[int, WatchedVersion],
    progress: Progress,
    *,
    admits: bool,
) -> tuple[dict[SumKey, list[float]], dict[ClassKey, list[int]]]:
    changes, slices = SumChanges(), SliceNames(known, admits=admits)
    slices.begin()
    total = connection.scalar(select(func.count()).select_from(prediction)) or 0
    first_ns = pruned_before_ns(connection)
    for rows in _portions(connection):
        bins = bin_index(np.array([row.confidence for row in rows])).tolist()
        for row, bin_number in zip(rows, bins, strict=True):
            if row.served_at_ns < first_ns:
                continue  # pruning was interrupted; this row's day is no longer counted
            day_bin = DayBin(row.watched_version_id, row.served_at_ns // DAY_NS, bin_number)
            keys = SliceKeys(row.predicted, row.tags, row.audit is not None)
            answer = Counted(day_bin, row.confidence, keys, row.probabilities)
            changes.serve(answer)
            if row.label is not None:
                changes.label(answer, row.label)
                counted.labels += 1
        counted.answers += len(rows)
        progress("answers", counted.answers, total)
    return changes.totals(connection, slices), changes.classes.rows()


def _portions(connection: Connection) -> Iterator[Any]:
    names = (
        "watched_version_id",
        "predicted",
        "confidence",
        "probabilities",
        "served_at_ns",
        "tags",
        "audit",
    )
    joined = prediction.outerjoin(
        label_current, label_current.c.prediction_id == prediction.c.prediction_id
    )
    wanted = select(*(prediction.c[name] for name in names), label_current.c.label).select_from(
        joined
    )
    yield from connection.execute(wanted.execution_options(yield_per=_PORTION)).partitions()


def _compare_sums(
    connection: Connection, counted: Recount, totals: dict[SumKey, list[float]]
) -> bool:
    """Return whether any day sum differs from the recount."""
    keys = (bin_day.c.watched_version_id, bin_day.c.slice, bin_day.c.day, bin_day.c.bin)
    sums = [cast(func.sum(column), column.type) for column in SUMS]
    first_day = pruned_before_ns(connection) // DAY_NS
    rows = connection.execute(
        select(*keys, *sums).where(bin_day.c.day >= first_day).group_by(*keys)
    )
    stored = {SumKey(*row[:4]): list(row[4:]) for row in rows}
    counted.day_sums = len(stored)
    return _compare_rows(counted, "bin_day", stored, totals, tolerances=[TOLERANCE] * len(SUMS))


def _compare_totals(
    connection: Connection, counted: Recount, totals: dict[SumKey, list[float]]
) -> bool:
    """Return whether any total differs from the sum of the recounted days and the pruned ones."""
    first_day = pruned_before_ns(connection) // DAY_NS
    rows = connection.execute(select(bin_day).where(bin_day.c.day < first_day))
    pruned = ((SumKey(*row[:4]).total, row[5:]) for row in rows)
    recounted = ((key.total, sums) for key, sums in totals.items())
    expected = totaled(itertools.chain(pruned, recounted))
    return _compare_rows(
        counted,
        "bin_total",
        stored_totals(connection),
        expected,
        tolerances=[TOLERANCE * unit for unit in UNITS],
    )


def _compare_classes(
    connection: Connection, counted: Recount, classes: dict[ClassKey, list[int]]
) -> bool:
    """Return whether any class sum differs from the recount; they are integers, so nothing is
    tolerated.
    """
    stored = stored_class_sums(connection, first_day=pruned_before_ns(connection) // DAY_NS)
    return _compare_rows(counted, "class_day", stored, classes, tolerances=[0.0] * len(CLASS_SUMS))


def _compare_rows(
    counted: Recount,
    table: str,
    stored: Mapping[_Key, Sequence[float]],
    recounted: Mapping[_Key, Sequence[float]],
    *,
    tolerances: Sequence[float],
) -> bool:
    """Record rows of sums that differ; return whether any does."""
    nothing, limits = [0.0] * len(tolerances), np.array(tolerances)
    for key in sorted(stored.keys() | recounted.keys()):
        found, expected = stored.get(key, nothing), recounted.get(key, nothing)
        if not (np.abs(np.subtract(found, expected)) <= limits).all():  # NaN differs too
            counted.differ(
                table, ", ".join(f"{k} {v}" for k, v in key._asdict().items()), found, expected
            )
    return table in counted.differing


def _rewrite_sums(connection: Connection, totals: dict[SumKey, list[float]]) -> None:
    connection.execute(
        delete(bin_day).where(bin_day.c.day >= pruned_before_ns(connection) // DAY_NS)
    )
    add_days(connection, totals)


def _rewrite_classes(connection: Connection, classes: dict[ClassKey, list[int]]) -> None:
    connection.execute(
        delete(class_day).where(class_day.c.day >= pruned_before_ns(connection) // DAY_NS)
    )
    add_class_sums(connection, classes)


def _compare_detectors(
    connection: Connection, counted: Recount, progress: Progress
) -> list[watch.Watched]:
    """Return the replayed detectors of those that differ."""
    wrong = []
    keys = (monitor_state.c.watched_version_id, monitor_state.c.slice)
    ids = connection.execute(select(*keys).order_by(*keys)).all()
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
