"""From the ledger to the arrays of an inference.

At most the latest LIMIT labels are read, and as many of the latest answers without one, from 2
LIMIT of the version among the latest SCANNED of all; sums tell how many were not read. An audit
that has all its labels needs none of them. An inference is kept until new labels, an erasure or
many new answers arrive.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sqlalchemy import (
    Connection,
    Integer,
    Select,
    Subquery,
    cast,
    func,
    literal_column,
    null,
    select,
)

from calibration.bins import BinSums, FloatArray, IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.facts import Inference, main_deviation
from calibration.diagnosis.groups import members
from calibration.diagnosis.inference import infer
from calibration.operating.facts import OperatingPoints
from monitoring.diagnosis.accuracy import find_operating_points
from monitoring.diagnosis.answer_arrays import Columns, as_answers, seconds
from monitoring.diagnosis.coverage import Rhythm, find_clock, rhythm_of
from monitoring.diagnosis.expected_performance import ClassSums, sum_classes
from monitoring.diagnosis.facts import Clock
from monitoring.diagnosis.present import Present, find_present
from monitoring.drift.events import SOURCES
from monitoring.ledger.database import Ledger
from monitoring.ledger.day_sums import DaySums, read_day_sums
from monitoring.ledger.days import Days
from monitoring.ledger.predictions import first_id
from monitoring.ledger.schema import (
    CORRECT,
    DAY_NS,
    EVERYTHING,
    IS_LABELED,
    bin_total,
    feedback,
    monitor_event,
    monitor_state,
    prediction,
)
from monitoring.ledger.sum_tables import AUDIT, added, admitted
from monitoring.ledger.watched_version import CountsAs, WatchedVersion

LIMIT = 100_000
SCANNED = 50 * LIMIT  # some half a second; fewer are soon used up by other models
_AT_ONCE = 500  # rows that are fetched together
_DAY_S = DAY_NS / 1e9
_ASIDE = feedback.c.counts_as > literal_column("0")  # as the index has it
_GROWTH = 8.0  # an inference is renewed when the number of answers grew by 2^(1/8), 9 %
_ANSWER = (
    *("served_at_ns", "confidence", "predicted", "probabilities"),
    *("tags", "patient", "audit", "scope_p"),
)
_LABEL = ("label", "correct", "first", "source", "reader", "received_at_ns", "second")


@dataclass(frozen=True)
class Inferred:
    """What rests on single answers, and when they came.

    `labels_until_s`: the newest answer with a label; `last_label_s`: the newest label; NaN without.
    `affected`: by day of service, the answers of the group that the main
    deviation names, all of them without one; `others`: the rest. `present`: the figures since
    something changed. `by_class`: what is expected before labels
    rests on it.
    """

    inference: Inference
    operating: OperatingPoints
    affected: tuple[Days, ...]
    others: tuple[Days, ...]
    present: Present | None
    by_class: ClassSums | None
    rhythm: Rhythm
    clock: Clock | None
    labels_until_s: float
    last_label_s: float


class _Known:
    """What was inferred of a version, from what; a lock of its own lets one reader infer."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.stamp: tuple[Any, ...] = ()
        self.found: Inferred | None = None


_known: WeakKeyDictionary[Ledger, dict[int, _Known]] = WeakKeyDictionary()
_adding = Lock()


def read_inferred(ledger: Ledger, connection: Connection, row: WatchedVersion) -> Inferred:
    """Infer from a version's answers, or return what was inferred from the same labels.

    Of readers that come together one infers, and the others wait for it.
    """
    with _adding:
        known = _known.setdefault(ledger, {}).setdefault(row.watched_version_id, _Known())
    with known.lock:
        stamp = _stamp(connection, row.watched_version_id)
        if known.found is None or known.stamp != stamp:
            known.found, known.stamp = _infer(connection, row), stamp
        return known.found


def _stamp(connection: Connection, watched_version_id: int) -> tuple[Any, ...]:
    """What an inference rests on; it is renewed when one of these changes: the watched tags, the
    last label (a correction and a second reading have one), the first one that pruning has left,
    the last change of policies, labels, right ones, and roughly the number of answers.
    """
    mine = {"watched_version_id": watched_version_id, "slice": EVERYTHING}
    sums, watched = bin_total.c, (monitor_state.c.tags, monitor_state.c.last_feedback_id)
    oldest = select(func.min(prediction.c.first_feedback_id)).where(
        prediction.c.watched_version_id == watched_version_id, IS_LABELED
    )
    changed = select(func.max(monitor_event.c.event_id)).filter_by(kind=SOURCES, **mine)
    queries = (
        *(select(column).filter_by(**mine) for column in watched),
        *(oldest, changed),
        *(select(added(sums[name])).filter_by(**mine) for name in ("n", "correct", "served")),
    )
    found = connection.execute(select(*(each.scalar_subquery() for each in queries))).one()
    *stamp, served = found
    return (*stamp, int(_GROWTH * math.log2(1 + (served or 0))))


def _read(
    connection: Connection, row: WatchedVersion
) -> tuple[FloatArray, Answers, FloatArray, DaySums]:
    """When labels came (N,), in seconds, the answers (N), the days on which any were served, also
    in seconds, and the day sums of all answers.
    """
    sums = read_day_sums(connection, row.watched_version_id, EVERYTHING, AUDIT)
    days = np.array(list(sums[EVERYTHING].served_by_day()), dtype=np.float64) * _DAY_S
    columns: Columns = {name: [] for name in (*_ANSWER, *_LABEL)}
    sources = [_labeled(row.watched_version_id)]
    if _without_label(sums[EVERYTHING]):  # else a scan of all answers would find none
        sources.append(_unlabeled(row.watched_version_id, days))
    for wanted in sources:
        for rows in connection.execute(wanted).partitions(_AT_ONCE):  # few objects live at a time
            for column, values in zip(columns.values(), zip(*rows, strict=True), strict=True):
                column.extend(values)
    order = np.argsort(np.array(columns["served_at_ns"], dtype=np.int64), kind="stable")
    answers = as_answers(row, columns, admitted(connection, row.model)).rows(order)
    received_s = seconds(columns["received_at_ns"])[order]
    answers = replace(answers, unread=_unread(sums, answers))
    return received_s, answers, days, sums[EVERYTHING]


def _infer(connection: Connection, row: WatchedVersion) -> Inferred:
    received_s, answers, days, everything = _read(connection, row)
    labeled = np.flatnonzero(answers.correct >= 0)
    served_s = answers.served_s[labeled]
    received_s = received_s[labeled]
    inference = infer(answers)
    first = main_deviation(inference.deviations)
    inside = np.ones(len(answers), bool) if first is None else members(first.group, answers)
    return Inferred(
        inference,
        find_operating_points(connection, row, answers, everything, healed_s=_healed_s(inference)),
        _by_day(answers, inside),
        _by_day(answers, ~inside),
        find_present(row, answers, inference),
        sum_classes(answers),
        rhythm_of(served_s, received_s, days),
        find_clock(served_s, received_s, answers.labeled().tags),
        float(served_s.max()) if len(served_s) else math.nan,
        float(received_s.max()) if len(received_s) else math.nan,
    )


def _healed_s(inference: Inference) -> float:
    """When the last error ended; NaN if one goes on, or there was none."""
    ends = [each.until for each in inference.deviations]
    over = [each for each in ends if each is not None]
    return max(over) if over and len(over) == len(ends) else math.nan


def _by_day(answers: Answers, chosen: BoolArray) -> tuple[Days, ...]:
    rows = np.flatnonzero(chosen)
    days, first = np.unique(answers.served_s[rows] // _DAY_S, return_index=True)
    parts = np.split(rows, first[1:])
    pairs = zip(days, parts, strict=False)  # no days: one empty part
    return tuple(_of_day(answers, int(day), each) for day, each in pairs)


def _of_day(answers: Answers, day: int, rows: IntArray) -> Days:
    labeled = rows[answers.correct[rows] >= 0]
    sums = BinSums.from_predictions(answers.confidence[labeled], answers.correct[labeled] == 1)
    return Days(day, day, len(rows), sums)


def _labeled(watched_version_id: int) -> Select[Any]:
    columns, second = prediction.c, _second_readings(watched_version_id)
    return (
        select(
            *(columns[name] for name in _ANSWER),
            *(columns.label, CORRECT, feedback.c.correct.label("first")),
            *(feedback.c.source, feedback.c.reader, feedback.c.received_at_ns, second.c.same),
        )
        .select_from(prediction)
        .join(feedback, feedback.c.feedback_id == columns.first_feedback_id)
        .outerjoin(second, second.c.prediction_id == columns.prediction_id)
        .where(columns.watched_version_id == watched_version_id, IS_LABELED)
        .order_by(columns.first_feedback_id.desc())
        .limit(LIMIT)
    )


def _second_readings(watched_version_id: int) -> Subquery:
    """Whether all other readers of an answer say what its label says."""
    same = cast(feedback.c.label == prediction.c.label, Integer)
    return (
        select(feedback.c.prediction_id, func.min(same).label("same"))
        .join(prediction, prediction.c.prediction_id == feedback.c.prediction_id)
        .where(
            feedback.c.watched_version_id == watched_version_id,
            _ASIDE,
            feedback.c.counts_as == CountsAs.SECOND_READING,
            IS_LABELED,
        )
        .group_by(feedback.c.prediction_id)
        .subquery()
    )


def _unlabeled(watched_version_id: int, days: FloatArray) -> Select[Any]:
    """The latest answers without a label, among the latest 2 LIMIT of the version."""
    key = prediction.c.prediction_id
    first, last = (days[0] - _DAY_S, days[-1] + 2 * _DAY_S) if len(days) else (0.0, 0.0)
    first, last = (first_id(int(each * 1e9)) for each in (first, last))
    scanned = (
        select(key, prediction.c.watched_version_id, prediction.c.label)
        .where(key.between(first, last))
        .order_by(key.desc())
        .limit(SCANNED)
        .subquery()
    )
    latest = (
        select(scanned.c.prediction_id, scanned.c.label)
        .where(scanned.c.watched_version_id == watched_version_id)
        .order_by(scanned.c.prediction_id.desc())
        .limit(2 * LIMIT)
        .subquery()
    )
    nothing = [null().label(name) for name in _LABEL]
    return (
        select(*(prediction.c[name] for name in _ANSWER), *nothing)
        .select_from(latest)
        .join(prediction, key == latest.c.prediction_id)
        .where(latest.c.label.is_(None))
        .order_by(latest.c.prediction_id.desc())
        .limit(LIMIT)
    )


def _unread(sums: Mapping[str, DaySums], answers: Answers) -> int:
    """Answers without a label, of an audit drawn ones, that were served after the day of the first
    label, and not read.
    """
    labeled = answers.served_s[answers.correct >= 0]
    if not len(labeled):
        return 0
    after = int(labeled[0] // _DAY_S)
    read = (answers.served_s >= (after + 1) * _DAY_S) & (answers.correct < 0)
    if answers.drawn is not None:
        read &= answers.drawn
    missing = _without_label(sums[EVERYTHING if answers.drawn is None else AUDIT].after(after))
    return max(missing - int(read.sum()), 0)


def _without_label(days: DaySums) -> int:
    sums = days.added()
    return int(sums.served.sum()) - sums.labeled.total
