"""Sums of all class probabilities by day, predicted class and class: what an expected confusion
matrix needs.

They are integers in units of 2^-32. An answer changes one row per class whose probability is not
0. Models with more than CLASS_LIMIT classes are not summed: the rows of a day grow with the square
of the number of classes. Answers of which only the confidence is known are not summed either. That
of a finding says all, so its sums by bin are read instead.
"""

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import BinSums, FloatArray
from calibration.measures.expected_confusion import LabeledSums, ProbabilitySums
from monitoring.ledger.schema import EVERYTHING, class_day
from monitoring.ledger.slices import AUDIT
from monitoring.ledger.statement import summed
from monitoring.ledger.sum_tables import CLASSES, FIXED_POINT, ClassKey
from monitoring.ledger.sums import read_sums
from monitoring.ledger.watched_version import PRESENT, WatchedVersion

CLASS_LIMIT = 16
_BYTES_LIMIT = 4 * CLASS_LIMIT
_FEW_BYTES = 128
_AT_ONCE = 4_096  # answers that are collected
_COUNTS = frozenset({"counts"})


# Answers of the same rows: `where` of ClassChanges.add and the sign: 0 served, 1 labeled, -1 a
# label taken back.
_Group: TypeAlias = tuple[int, int, int, int, int]


@dataclass
class ClassChanges:
    """What one transaction adds to the class sums; answers are collected and added up by column."""

    _rows: dict[ClassKey, list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0] * len(CLASSES.sums))
    )
    _waiting: dict[int, list[tuple[_Group, bytes, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by size in bytes

    def add(
        self,
        where: tuple[int, int, int, int],
        probabilities: bytes,
        *,
        label: int = -1,
        sign: int = 0,
    ) -> None:
        """Count an answer, or its label.

        Args:
            where: watched version id, day, predicted class, 1 if it was drawn for the audit else 0.
            probabilities: (K,) float32, empty if not known.
            label: index of the true class.
            sign: 0 counts the answer, 1 its label; -1 takes the label back.
        """
        size_bytes = len(probabilities)
        if 0 < size_bytes <= _BYTES_LIMIT:
            waiting = self._waiting[size_bytes]
            waiting.append(((*where, sign), probabilities, label))
            if len(waiting) >= _AT_ONCE:
                self._fold(size_bytes)

    def rows(self) -> dict[ClassKey, list[int]]:
        for size_bytes in list(self._waiting):
            self._fold(size_bytes)
        return self._rows

    def _fold(self, size_bytes: int) -> None:
        """Add up the answers of one number of classes: few one by one, which is a quarter of the
        work then, and many by column. Sums of rounded terms are exact either way.
        """
        waiting = self._waiting.pop(size_bytes)
        if len(waiting) * size_bytes <= _FEW_BYTES:
            for group, probabilities, label in waiting:
                for true, p in enumerate(array("f", probabilities)):
                    truth = int(true == label)
                    if p or truth:
                        error = round((truth - p) ** 2 * FIXED_POINT) if group[-1] else 0
                        both = round(p * FIXED_POINT), round(p * p * FIXED_POINT)
                        self._count(group, true, (*both, truth, error))
            return
        self._fold_many(*zip(*waiting, strict=True))

    def _fold_many(
        self, groups: Sequence[_Group], served: Sequence[bytes], labels: Sequence[int]
    ) -> None:
        p = np.frombuffer(b"".join(served), dtype="<f4").reshape(len(served), -1)
        p = p.astype(np.float64)  # (N, K)
        truth = np.array(labels)[:, None] == np.arange(p.shape[1])
        numbers: dict[_Group, int] = {}
        number = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
        members = (number == np.arange(len(numbers))[:, None]).astype(np.float64)  # (G, N)
        terms = (
            p * FIXED_POINT,
            p * p * FIXED_POINT,
            truth.astype(np.float64),
            (truth - p) ** 2 * FIXED_POINT,
        )
        sums = np.stack([members @ np.rint(term) for term in terms], axis=-1)  # (G, K, 4)
        for group, of_group in zip(numbers, sums.astype(np.int64).tolist(), strict=True):
            for true, terms_of_class in enumerate(of_group):
                if terms_of_class[0] or terms_of_class[2]:
                    self._count(group, true, terms_of_class)

    def _count(self, group: _Group, true: int, sums: Sequence[int]) -> None:
        total, squared, truth, error = sums
        sign = group[-1]
        row = self._rows[ClassKey(*group[:-1], true)]
        if not sign:
            row[0] += total
            row[1] += squared
            return
        for index, term in enumerate((truth, total, squared, error), start=2):
            row[index] += sign * term


@dataclass(frozen=True)
class ClassSums:
    """The class sums of a version over days.

    Attributes:
        served: over all answers with full probabilities.
        labeled: over those with a label.
        audited: over those of them that were drawn for the random audit.
    """

    served: ProbabilitySums
    labeled: LabeledSums
    audited: LabeledSums


def read_class_sums(
    connection: Connection, row: WatchedVersion, *, since_day: int | None = None
) -> ClassSums:
    """Read the class sums of a version; `since_day` is the first day, in days since 1970."""
    if not row.sums_by_class:
        return _of_finding(connection, row, since_day)
    columns, class_count = class_day.c, len(row.classes)
    keys = (columns.audited, columns.true_class, columns.predicted)
    wanted = (
        select(*keys, *map(summed, CLASSES.sums))
        .where(
            columns.watched_version_id == row.watched_version_id, columns.day >= (since_day or 0)
        )
        .group_by(*keys)
    )
    sums = np.zeros((2, len(CLASSES.sums), class_count, class_count))
    for audited, true, predicted, *values in connection.execute(wanted):
        sums[audited, :, true, predicted] = values
    for index, column in enumerate(CLASSES.sums):
        if column.name not in _COUNTS:
            sums[:, index] /= FIXED_POINT
    both = sums.sum(axis=0)
    return ClassSums(ProbabilitySums(*both[:2]), _labeled(both), _labeled(sums[1]))


def _of_finding(connection: Connection, row: WatchedVersion, since_day: int | None) -> ClassSums:
    """Of answers that all say "present". The squares of those served are as if all of a bin had its
    mean, which makes their variance too large, by less than .0012 an answer.
    """
    every, audit = (
        read_sums(connection, row.watched_version_id, slice=name, since_day=since_day)
        for name in (EVERYTHING, AUDIT)
    )
    n, p = every.served, every.served_confidence
    squared = np.divide(p * p, n, out=np.zeros_like(p), where=n > 0)
    served = _of_presence(n.sum(), p.sum(), squared.sum())
    return ClassSums(served, *(_labels_of_presence(each.labeled) for each in (every, audit)))


def _of_presence(n: float, p: float, squared: float) -> ProbabilitySums:
    """The sums of `n` answers whose probabilities of presence add up to `p`."""
    total, squares = np.zeros((2, 2)), np.zeros((2, 2))
    total[:, PRESENT], squares[:, PRESENT] = (n - p, p), (n - 2 * p + squared, squared)
    return ProbabilitySums(total, squares)


def _labels_of_presence(bins: BinSums) -> LabeledSums:
    n, p, present = bins.n.sum(), bins.confidence.sum(), bins.correct.sum()
    counts, errors = np.zeros((2, 2)), np.zeros((2, 2))
    counts[:, PRESENT], errors[:, PRESENT] = (n - present, present), bins.squared_error.sum()
    return LabeledSums(_of_presence(n, p, p - bins.variance.sum()), counts, errors)


def _labeled(sums: FloatArray) -> LabeledSums:
    _, _, counts, total, squared, squared_error = sums
    return LabeledSums(ProbabilitySums(total, squared), counts, squared_error)
