"""Which answers have labels, and how that biases the figures.

Labels are rarely a random sample. There are two corrections:

- Post-stratification weights each confidence bin by the answers *served* in it, not by those labeled. It corrects
  labels that favor answers of low confidence, but not labels that favor wrong answers.
- An audit labels answers that were drawn at random, with a known probability, before the outcome was known. It removes
  all selection bias if every drawn answer gets a label. Days are weighted by served / drawn (the inverse sampling
  fraction of Horvitz and Thompson), so the audit share may change from day to day.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Select, func, select

from calibration.bins import BIN_COUNT, BinSums
from calibration.metrics import Z95
from monitoring.ledger.schema import bin_day, feedback, label_current
from monitoring.ledger.slices import AUDIT, EVERYTHING
from monitoring.ledger.sums import LedgerSums

_SOURCES_OF = 1_000  # the latest labels whose sources are counted
_FIELDS = ("n", "confidence", "correct", "variance", "squared_error")


@dataclass(frozen=True)
class Audit:
    """Measures of the audited answers. `drawn`: answers drawn; `share`: of all served; `labeled`: with a label."""

    drawn: int
    share: float
    labeled: int
    ece: float
    noise_floor: float
    signed_gap: float
    signed_gap_lower: float
    signed_gap_upper: float


@dataclass(frozen=True)
class LabelSelection:
    """How the labels were selected.

    Attributes:
        coverage: share of the answers served that have a label.
        uncovered: share of the answers served that lie in confidence bins without any label.
        post_stratified_ece: ECE with every bin at the weight of what was served in it.
        audit: None if no answer was drawn.
        sources: number of the latest labels by source; the empty name if none was given.
    """

    coverage: float
    uncovered: float
    post_stratified_ece: float
    audit: Audit | None
    sources: dict[str, int]


def find_selection(
    connection: Connection, calibration_id: int, sums: LedgerSums, *, since_day: int | None = None
) -> LabelSelection:
    """Describe the labels of the answers served from `since_day` on, whose sums are given."""
    labeled, served, total = sums.labeled, sums.served, int(sums.served.sum())
    return LabelSelection(
        coverage=labeled.total / total if total else math.nan,
        uncovered=float(served[labeled.n == 0].sum()) / total if total else math.nan,
        post_stratified_ece=post_stratified_ece(labeled, served),
        audit=find_audit(connection, calibration_id, since_day=since_day),
        sources=_sources(connection, calibration_id),
    )


def post_stratified_ece(labeled: BinSums, served: npt.ArrayLike) -> float:
    """ECE over the bins that have labels, weighted by the answers served; NaN if no bin has labels.

    >>> sums = BinSums.from_predictions([0.9, 0.9, 0.4], [True, False, False], bin_count=2)
    >>> round(post_stratified_ece(sums, [3, 1]), 3)   # 3/4 of |.4| and 1/4 of |.4|
    0.4
    """
    filled = labeled.n > 0
    weight = np.asarray(served, dtype=np.float64)[filled]
    if not weight.sum():
        return math.nan
    errors = np.abs(labeled.difference[filled]) / labeled.n[filled]
    return float((weight * errors).sum() / weight.sum())


def find_audit(connection: Connection, calibration_id: int, *, since_day: int | None = None) -> Audit | None:
    """Measure the audited answers; None if none was drawn."""
    drawn = _served_by_day(connection, calibration_id, AUDIT, since_day)
    if not drawn:
        return None
    served = _served_by_day(connection, calibration_id, EVERYTHING, since_day)
    rows = connection.execute(_audited(calibration_id, since_day)).all()
    cells = np.array([tuple(row) for row in rows], dtype=np.float64).reshape(len(rows), 2 + len(_FIELDS))
    weight = np.array([served[row.day] / drawn[row.day] for row in rows])
    bins, sums = cells[:, 1].astype(np.int64), cells[:, 2:].T  # (fields, cells)

    def added(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.stack([np.bincount(bins, weights * each, minlength=BIN_COUNT) for each in sums])

    n, confidence, correct, _, _ = added(weight)
    all_drawn = sum(drawn.values())
    measures = _measures(n, confidence - correct, added(weight**2))
    return Audit(all_drawn, all_drawn / sum(served.values()), int(sums[0].sum()), *measures)


def _measures(
    n: npt.NDArray[np.float64], gap: npt.NDArray[np.float64], squared: npt.NDArray[np.float64]
) -> tuple[float, ...]:
    """ECE, noise floor, signed gap and its interval, from sums with weights and with squared weights."""
    answers = float(n.sum())
    if not answers:
        return (math.nan,) * 5
    mean = float(gap.sum()) / answers
    weights, _, _, variance, squared_error = squared
    spread = math.sqrt(max(float(squared_error.sum() - mean**2 * weights.sum()), 0.0)) / answers
    floor = math.sqrt(2 / math.pi) * float(np.sqrt(variance).sum()) / answers
    return float(np.abs(gap).sum()) / answers, floor, mean, mean - Z95 * spread, mean + Z95 * spread


def _served_by_day(connection: Connection, calibration_id: int, name: str, since_day: int | None) -> dict[int, int]:
    """Answers served in a slice by day, for days that have any."""
    columns = bin_day.c
    wanted = select(columns.day, func.sum(columns.served)).where(
        columns.calibration_id == calibration_id, columns.slice == name, columns.day >= (since_day or 0)
    )
    return {day: int(served) for day, served in connection.execute(wanted.group_by(columns.day)) if served}


def _audited(calibration_id: int, since_day: int | None) -> Select[Any]:
    """Select (day, bin, sums) of the drawn answers that have a label."""
    columns = bin_day.c
    return (
        select(columns.day, columns.bin, *(func.sum(columns[name]) for name in _FIELDS))
        .where(columns.calibration_id == calibration_id, columns.slice == AUDIT, columns.day >= (since_day or 0))
        .group_by(columns.day, columns.bin)
        .having(func.sum(columns.n) > 0)
    )


def _sources(connection: Connection, calibration_id: int) -> dict[str, int]:
    latest = (
        select(label_current.c.first_feedback_id)
        .where(label_current.c.calibration_id == calibration_id)
        .order_by(label_current.c.first_feedback_id.desc())
        .limit(_SOURCES_OF)
        .subquery()
    )
    counted = (
        select(feedback.c.source, func.count())
        .join(latest, latest.c.first_feedback_id == feedback.c.feedback_id)
        .group_by(feedback.c.source)
    )
    return {source or "": count for source, count in sorted(connection.execute(counted), key=lambda row: -row[1])}
