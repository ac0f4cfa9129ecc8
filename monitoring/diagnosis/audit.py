"""The random audit: answers that were drawn with a known probability before their outcome was
known.

It removes all selection bias if every drawn answer gets a label. Days are weighted by served /
drawn (the inverse sampling fraction of Horvitz and Thompson) if the share drawn changed from day to
day by more than chance; otherwise every label counts alike, which is as unbiased and less noisy.

A report rests on the labels of the audit alone if it has enough, otherwise on all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Select, select

from calibration.bins import BIN_COUNT, BinSums
from calibration.measures.confusion import chi_squared_deviations
from monitoring.ledger.day_sums import LABEL_SUMS, DaySums
from monitoring.ledger.schema import CORRECT, DAY_NS, EVERYTHING, IS_LABELED, prediction
from monitoring.ledger.sum_tables import AUDIT, SliceKeys, SliceNames
from monitoring.ledger.sums import LedgerSums, read_slices
from monitoring.ledger.watched_version import WatchedVersion

FEW_LABELS = 100  # with fewer labels nothing is decided
LABELS_LIMIT = 100_000  # the latest labels among which audited ones are looked for, one by one
AUDITED_LIMIT = 20_000  # the latest of these that make the slices
_CHANGED = 2.0  # standard deviations above which the share drawn has changed between days
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AuditSums:
    """Sums of audited answers with a label, in cells (C,) of a day and a bin; answers by day."""

    days: npt.NDArray[np.int64]
    bins: npt.NDArray[np.int64]
    sums: _Floats  # (5, C), in the order of BinSums
    drawn: Mapping[int, int]
    served: Mapping[int, int]

    @property
    def labeled(self) -> int:
        return int(self.sums[0].sum())

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


class Deciding(NamedTuple):
    """The sums of the labels on which a report rests, the slices with these, and whether they are
    those of the audit alone.
    """

    labeled: BinSums
    slices: Mapping[str, LedgerSums]
    audited: bool


def find_deciding(
    connection: Connection,
    row: WatchedVersion,
    sums: Mapping[str, DaySums],
    since_day: int | None,
    *,
    slices: bool,
) -> Deciding:
    """Choose the labels of a window by the day sums, and read the slices if they are wanted."""
    labeled, audited = deciding_labels(sums, since_day)
    if not slices:
        return Deciding(labeled, {}, audited)
    found = read_slices(
        connection, row.watched_version_id, since_day=since_day, besides=(EVERYTHING, AUDIT)
    )
    if audited:
        found = audited_slices(connection, row, found, since_day=since_day)
    return Deciding(labeled, found, audited)


def deciding_labels(sums: Mapping[str, DaySums], since_day: int | None) -> tuple[BinSums, bool]:
    """Return the labels on which a report rests, and whether they are the audit's alone."""
    audit = find_audit(sums, since_day)
    if audit is None or audit.labeled < FEW_LABELS:
        return sums[EVERYTHING].since(since_day).added().labeled, False
    return audit.as_bins(), True


def find_audit(sums: Mapping[str, DaySums], since_day: int | None = None) -> AuditSums | None:
    """Return the sums of the audited answers served from `since_day` on; None if none was drawn.

    `sums`: of EVERYTHING and AUDIT.
    """
    audit, everything = (sums[name].since(since_day) for name in (AUDIT, EVERYTHING))
    drawn = audit.served_by_day()
    if not drawn:
        return None
    numbers = audit.numbers()[:, LABEL_SUMS].T
    labeled = numbers[0] > 0
    return AuditSums(
        audit.day[labeled],
        audit.bin[labeled],
        numbers[:, labeled],
        drawn,
        everything.served_by_day(),
    )


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
    columns = prediction.c
    newest_first = (
        select(columns.prediction_id)
        .where(columns.watched_version_id == watched_version_id, IS_LABELED)
        .order_by(columns.first_feedback_id.desc())
    )
    latest = newest_first.limit(LABELS_LIMIT).subquery()
    return (
        select(columns.confidence, CORRECT, columns.label, columns.predicted, columns.tags)
        .join(latest, latest.c.prediction_id == columns.prediction_id)
        .where(columns.audit.is_not(None))
        .order_by(columns.first_feedback_id.desc())
    )
