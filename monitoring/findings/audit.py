"""The random audit: answers that were drawn with a known probability before their outcome was
known.

It removes all selection bias if every drawn answer gets a label. Days are weighted by served /
drawn (the inverse sampling fraction of Horvitz and Thompson) if the share drawn changed from day to
day by more than chance; otherwise every label counts alike, which is as unbiased and less noisy.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Select, func, select

from calibration.bins import BIN_COUNT, BinSums
from calibration.measures.confusion import chi_squared_deviations
from calibration.measures.metrics import gap_interval
from monitoring.ledger.schema import DAY_NS, EVERYTHING, bin_day, label_current, prediction
from monitoring.ledger.slices import AUDIT, SliceKeys, SliceNames
from monitoring.ledger.statement import summed
from monitoring.ledger.sums import LedgerSums
from monitoring.ledger.versions import WatchedVersion

FEW_LABELS = 100  # with fewer labels nothing is decided
MUCH_MISSING = 0.2  # above this share of missing labels the audit may be as biased as any choice
LABELS_LIMIT = 100_000  # the latest labels among which audited ones are looked for, one by one
AUDITED_LIMIT = 20_000  # the latest of these that make the slices
_CHANGED = 2.0  # standard deviations above which the share drawn has changed between days
_FIELDS = ("n", "confidence", "correct", "variance", "squared_error")
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Audit:
    """Measures of the audited answers.

    Attributes:
        drawn: answers drawn; `share`: of all served; `labeled`: with a label.
        missing: share without a label among those drawn long enough ago; NaN if there are none.
        decides: whether it has enough labels, so that verdict, comparison, slices and advice rest
            on it alone.
        mean_confidence: of those with a label; NaN without any.
    """

    drawn: int
    share: float
    labeled: int
    missing: float
    decides: bool
    ece: float
    noise_floor: float
    signed_gap: float
    signed_gap_lower: float
    signed_gap_upper: float
    mean_confidence: float

    @property
    def is_incomplete(self) -> bool:
        """Whether so many labels are missing that the audit may be biased."""
        return self.missing > MUCH_MISSING

    @property
    def may_be_biased(self) -> bool:
        """Whether missing labels can explain what the audit shows."""
        if self.signed_gap_lower <= 0 <= self.signed_gap_upper:
            return self.is_incomplete
        return self.is_incomplete or missing_explain(
            self.signed_gap, self.mean_confidence, self.missing
        )


def missing_explain(gap: float, mean_confidence: float, missing: float) -> bool:
    """Whether missing labels can explain a signed gap; `missing`: their share in [0, 1], or NaN.

    They can if the gap would be gone with all of them wrong (gap below 0) or right (above), and as
    confident as the others.

    >>> missing_explain(-0.15, 0.75, 0.18), missing_explain(0.15, 0.75, 0.18)
    (True, False)
    """
    of_missing = mean_confidence - (1.0 if gap > 0 else 0.0)
    return missing > 0 and ((1 - missing) * gap + missing * of_missing > 0) is not (gap > 0)


@dataclass(frozen=True)
class AuditSums:
    """Sums of audited answers with a label, in cells (C,) of a day and a bin; answers by day."""

    days: npt.NDArray[np.int64]
    bins: npt.NDArray[np.int64]
    sums: _Floats  # (5, C), in the order of _FIELDS
    drawn: Mapping[int, int]
    served: Mapping[int, int]

    @property
    def labeled(self) -> int:
        """The audited answers with a label."""
        return int(self.sums[0].sum())

    def missing(self, *, until_day: int) -> float:
        """The share without a label of those drawn up to `until_day`; NaN if none was."""
        drawn = sum(count for day, count in self.drawn.items() if day <= until_day)
        return 1 - float(self.sums[0][self.days <= until_day].sum()) / drawn if drawn else math.nan

    def weighted(self, power: int = 1) -> _Floats:
        """The sums by bin, (5, M), with the weights to that power."""
        weight = self._weights() ** power
        return np.stack(
            [np.bincount(self.bins, weight * each, minlength=BIN_COUNT) for each in self.sums]
        )

    def as_bins(self) -> BinSums:
        """The sums of as many equally weighted labels as the weighted ones are worth (Kish)."""
        weighted, labels = self.weighted(), self.weighted(2)[0].sum()
        worth = weighted[0] * (weighted[0].sum() / labels if labels else 0.0)
        n = np.where(weighted[0] > 0, np.maximum(np.rint(worth), 1), 0)
        return BinSums(n.astype(np.int64), *(weighted[1:] * (n / np.maximum(weighted[0], 1e-300))))

    def _weights(self) -> _Floats:
        if not self._share_changed():
            return np.ones(len(self.days))
        return np.array([self.served[day] / self.drawn[day] for day in self.days.tolist()])

    def _share_changed(self) -> bool:
        """Whether chi-squared of the draws by day exceeds what one share for all days gives."""
        served = np.array([self.served[day] for day in self.served], dtype=np.float64)
        drawn = np.array([self.drawn.get(day, 0) for day in self.served], dtype=np.float64)
        share, freedom = drawn.sum() / served.sum(), len(served) - 1
        if not freedom or not 0 < share < 1:
            return False
        chi_squared = float(((drawn - served * share) ** 2 / (served * share * (1 - share))).sum())
        return chi_squared_deviations(chi_squared, freedom) > _CHANGED


def read_audit(
    connection: Connection, watched_version_id: int, *, since_day: int | None = None
) -> AuditSums | None:
    """Read the sums of the audited answers served from `since_day` on; None if none was drawn."""
    drawn = _served_by_day(connection, watched_version_id, AUDIT, since_day)
    if not drawn:
        return None
    served = _served_by_day(connection, watched_version_id, EVERYTHING, since_day)
    rows = connection.execute(_audited(watched_version_id, since_day)).all()
    cells = np.array([tuple(row) for row in rows], dtype=np.float64).reshape(
        len(rows), 2 + len(_FIELDS)
    )
    return AuditSums(
        cells[:, 0].astype(np.int64), cells[:, 1].astype(np.int64), cells[:, 2:].T, drawn, served
    )


def measure_audit(sums: AuditSums, *, due_day: int) -> Audit:
    """Measure the audited answers. Labels of answers served up to `due_day` should have arrived."""
    drawn, labeled = sum(sums.drawn.values()), sums.labeled
    n, confidence, correct, _, _ = sums.weighted()
    return Audit(
        drawn,
        drawn / sum(sums.served.values()),
        labeled,
        sums.missing(until_day=due_day),
        labeled >= FEW_LABELS,
        *_measures(n, confidence, correct, sums.weighted(2)),
    )


def last_audited(connection: Connection, watched_version_id: int, last: int) -> BinSums:
    """Sum the `last` audited answers that were labeled last, among the latest LABELS_LIMIT."""
    rows = connection.execute(_newest_audited(watched_version_id).limit(last)).all()
    return BinSums.from_predictions([row.confidence for row in rows], [row.correct for row in rows])


def audited_slices(
    connection: Connection,
    row: WatchedVersion,
    sums: Mapping[str, LedgerSums],
    *,
    since_day: int | None = None,
) -> dict[str, LedgerSums]:
    """Return the slices with the labels of audited answers in place of all labels.

    The ledger has no sums of them, so the audited answers among the latest `LABELS_LIMIT` labels
    are read, at most `AUDITED_LIMIT`. They are not weighted: the draw does not depend on the
    outcome, so the test of a slice holds without weights.
    """
    audited = _newest_audited(row.watched_version_id).limit(AUDITED_LIMIT)
    audited = audited.where(prediction.c.served_at_ns >= (since_day or 0) * DAY_NS)
    names = SliceNames({row.watched_version_id: row}, admits=False)
    found: dict[str, tuple[list[float], list[int]]] = {}
    for confidence, correct, label, predicted, tags in connection.execute(audited):
        of = names.of(connection, row.watched_version_id, SliceKeys(predicted, tags))
        for name in (*of, names.true(row.watched_version_id, label)):
            confidences, rights = found.setdefault(name, ([], []))
            confidences.append(confidence)
            rights.append(correct)
    labeled = {name: BinSums.from_predictions(*answers) for name, answers in found.items()}
    return {
        name: LedgerSums(labeled.get(name, BinSums.zeros()), each.served, each.served_confidence)
        for name, each in sums.items()
    }


def _newest_audited(watched_version_id: int) -> Select[Any]:
    """Select the audited answers among the latest labels, newest first."""
    wanted = select(label_current).filter_by(watched_version_id=watched_version_id)
    newest_first = wanted.order_by(label_current.c.first_feedback_id.desc())
    latest = newest_first.limit(LABELS_LIMIT).subquery().c
    answer = prediction.c
    return (
        select(latest.confidence, latest.correct, latest.label, answer.predicted, answer.tags)
        .join(prediction, answer.prediction_id == latest.prediction_id)
        .where(answer.audit.is_not(None))
        .order_by(latest.first_feedback_id.desc())
    )


def _measures(
    n: _Floats, confidence: _Floats, correct: _Floats, squared: _Floats
) -> tuple[float, ...]:
    """ECE, noise floor, signed gap, its interval, mean confidence, of weighted sums."""
    answers, gap = float(n.sum()), confidence - correct
    if not answers:
        return (math.nan,) * 6
    mean = float(gap.sum()) / answers
    weights, _, _, variance, squared_error = squared
    ece, mean_confidence = float(np.abs(gap).sum()) / answers, float(confidence.sum()) / answers
    floor = math.sqrt(2 / math.pi) * float(np.sqrt(variance).sum()) / answers
    squares = float(weights.sum())
    of_one = max(float(squared_error.sum()) / squares - mean**2, 0.0)
    return (
        ece,
        floor,
        mean,
        *gap_interval(mean, mean_confidence, of_one, answers**2 / squares),
        mean_confidence,
    )


def _served_by_day(
    connection: Connection, watched_version_id: int, name: str, since_day: int | None
) -> dict[int, int]:
    """Answers served in a slice by day, for days that have any."""
    columns = bin_day.c
    wanted = select(columns.day, summed(columns.served)).where(
        columns.watched_version_id == watched_version_id,
        columns.slice == name,
        columns.day >= (since_day or 0),
    )
    return {
        day: int(served)
        for day, served in connection.execute(wanted.group_by(columns.day))
        if served
    }


def _audited(watched_version_id: int, since_day: int | None) -> Select[Any]:
    """Select (day, bin, sums) of the drawn answers that have a label."""
    columns = bin_day.c
    return (
        select(columns.day, columns.bin, *(summed(columns[name]) for name in _FIELDS))
        .where(
            columns.watched_version_id == watched_version_id,
            columns.slice == AUDIT,
            columns.day >= (since_day or 0),
        )
        .group_by(columns.day, columns.bin)
        .having(func.sum(columns.n) > 0)
    )
