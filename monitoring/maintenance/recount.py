"""Recounts: everything derived from answers and labels is computed again, compared and, if asked,
repaired.

Facts (`prediction`, `feedback`, `monitor_event`) are taken as true, and so are the day sums of
pruned answers. Recounted are the current labels, the day sums of every slice since the
watermark of pruning, the totals over all days, and the detectors, replayed
label by label.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, func, select

from calibration import wording
from monitoring.drift import watch
from monitoring.drift.replay import replay
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import lock_tables, lock_versions
from monitoring.ledger.predictions import pruned_before_ns
from monitoring.ledger.recounted import (
    count,
    read_answers,
    recount_days,
    relabel,
    wrong_labels,
)
from monitoring.ledger.schema import DAY_NS, bin_day, bin_total, monitor_state, prediction
from monitoring.ledger.sum_changes import SumChanges
from monitoring.ledger.sum_tables import (
    DAYS,
    TOTALS,
    SliceNames,
    SumKey,
    TotalKey,
    rebuild_totals,
    totaled,
)
from monitoring.maintenance import Progress, silent

SHOWN = 20  # mismatches per table that are described one by one
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
        _tell_labels(counted, wrong_labels(connection))
        _compare_sums(connection, counted, progress)
        _compare_detectors(connection, counted, progress)
    return counted


def repair(ledger: Ledger, *, progress: Progress = silent) -> Recount:
    """Recount and correct in one transaction; servers that write wait for it or fail."""
    counted = Recount()
    with ledger.write() as connection:
        known = versions.load_all(connection)
        lock_versions(connection, known)
        lock_tables(connection, prediction, bin_day, bin_total)
        _tell_labels(counted, relabel(connection))
        days = _compare_sums(connection, counted, progress)
        recount_days(connection, known, days)
        if bin_total.name in counted.differing:
            rebuild_totals(connection, known)
        for watched in _compare_detectors(connection, counted, progress):
            watched.save(connection)
    return counted


def _tell_labels(counted: Recount, wrong: Iterable[Any]) -> None:
    for row in wrong:
        where = f"label of answer {row.prediction_id.hex()}"
        counted.differ(prediction.name, where, "other", "as feedback says")


def _recounted(connection: Connection, counted: Recount, progress: Progress) -> SumChanges:
    changes = SumChanges()
    total = connection.scalar(select(func.count()).select_from(prediction)) or 0
    first_ns = pruned_before_ns(connection)
    for rows in read_answers(connection):
        # if pruning was interrupted, a row's day may no longer be counted
        counted.labels += count(changes, [row for row in rows if row.served_at_ns >= first_ns])
        counted.answers += len(rows)
        progress("answers", counted.answers, total)
    return changes


def _compare_sums(
    connection: Connection, counted: Recount, progress: Progress
) -> set[tuple[int, int]]:
    """Compare all sums with the recount; return the (watched version id, day) that differ.

    Totals are those of the recounted days and of the pruned ones.
    """
    first_day = pruned_before_ns(connection) // DAY_NS
    slices = SliceNames(versions.load_all(connection), admits=False)
    days = _recounted(connection, counted, progress).totals(connection, slices)
    stored = DAYS.read(connection)
    pruned = ((key.total, sums) for key, sums in stored.items() if key.day < first_day)
    totals = totaled(itertools.chain(pruned, ((key.total, sums) for key, sums in days.items())))
    stored_days = {key: sums for key, sums in stored.items() if key.day >= first_day}
    counted.day_sums = len(stored_days)
    wrong = _compare_rows(counted, bin_day.name, stored_days, days)
    _compare_rows(counted, bin_total.name, TOTALS.read(connection), totals)
    return {(key.watched_version_id, key.day) for key in wrong}


def _compare_rows(
    counted: Recount,
    table: str,
    stored: Mapping[_Key, Sequence[int]],
    recounted: Mapping[_Key, Sequence[int]],
) -> list[_Key]:
    wrong, nothing = [], [0] * len(DAYS.sums)
    for key in sorted(stored.keys() | recounted.keys()):
        found, expected = stored.get(key, nothing), recounted.get(key, nothing)
        if found != expected:
            where = ", ".join(f"{name} {value}" for name, value in key._asdict().items())
            counted.differ(table, where, found, expected)
            wrong.append(key)
    return wrong


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
