"""Sums of all class probabilities by day, predicted class and class: what an expected confusion
matrix needs.

They are integers in units of 2^-32, exact in any order, so a recount equals them. An answer changes
one row per class whose probability is not 0. Models with more than CLASS_LIMIT classes are not
summed: the rows of a day grow with the square of the number of classes. Answers of which only the
    confidence is known are not summed either.
"""

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sqlalchemy import BigInteger, Connection, cast, delete, func, select

from calibration.bins import FloatArray
from calibration.measures.expected_confusion import LabeledSums, ProbabilitySums
from monitoring.ledger.schema import class_day
from monitoring.ledger.statement import adding
from monitoring.ledger.sums import FIXED_POINT

CLASS_LIMIT = 16
SUMS = tuple(column for column in class_day.columns if not column.primary_key)
_BYTES_LIMIT = 4 * CLASS_LIMIT
_AT_ONCE = 4_096  # answers that are collected
_FEW_BYTES = 128
_ADD = adding(class_day)
_COUNTS = frozenset({"counts"})


class ClassKey(NamedTuple):
    """The key of the sums, without the shard."""

    watched_version_id: int
    day: int
    predicted: int
    audited: int
    true_class: int


class _Group(NamedTuple):
    """Answers that are added to the same rows. `sign`: 0 as served, 1 as labeled, -1 where a label
    is taken back.
    """

    watched_version_id: int
    day: int
    predicted: int
    audited: int
    sign: int = 0


@dataclass
class ClassChanges:
    """What one transaction adds to the class sums; answers are collected and added up by column."""

    _rows: dict[ClassKey, list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0] * len(SUMS))
    )
    _waiting: dict[int, list[tuple[_Group, bytes, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by size

    def serve(
        self, where: tuple[int, int], predicted: int, audited: bool, probabilities: bytes
    ) -> None:
        """Count an answer. `where`: watched version id and day; `probabilities`: (K,) float32,
        empty if not known.
        """
        self._add(_Group(*where, predicted, int(audited)), probabilities, -1)

    def label(
        self,
        where: tuple[int, int],
        predicted: int,
        audited: bool,
        probabilities: bytes,
        label: int,
        *,
        sign: int = 1,
    ) -> None:
        """Count the label of an answer, the index of a class; `sign` -1 takes it back."""
        self._add(_Group(*where, predicted, int(audited), sign), probabilities, label)

    def rows(self) -> dict[ClassKey, list[int]]:
        """Return what each row gains."""
        for size in list(self._waiting):
            self._fold(size)
        return self._rows

    def save(self, connection: Connection, *, shard: int = 0) -> None:
        """Add everything to the ledger in the order of the table's key."""
        add_class_sums(connection, self.rows(), shard=shard)

    def _add(self, group: _Group, probabilities: bytes, label: int) -> None:
        size = len(probabilities)
        if 0 < size <= _BYTES_LIMIT:
            waiting = self._waiting[size]
            waiting.append((group, probabilities, label))
            if len(waiting) >= _AT_ONCE:
                self._fold(size)

    def _fold(self, size: int) -> None:
        """Add up the answers of one number of classes: few one by one, which is faster then, and
        many by column.
        """
        waiting = self._waiting.pop(size)
        if len(waiting) * size <= _FEW_BYTES:
            for group, probabilities, label in waiting:
                self._fold_one(group, probabilities, label)
        else:
            self._fold_many(*zip(*waiting, strict=True))

    def _fold_one(self, group: _Group, probabilities: bytes, label: int) -> None:
        for true, p in enumerate(array("f", probabilities)):
            truth = int(true == label)
            if p or truth:
                error = (truth - p) * (truth - p)
                self._count(
                    group,
                    true,
                    round(p * FIXED_POINT),
                    round(p * p * FIXED_POINT),
                    truth,
                    round(error * FIXED_POINT),
                )

    def _fold_many(
        self, groups: Sequence[_Group], found: Sequence[bytes], labels: Sequence[int]
    ) -> None:
        """Add them up bit for bit as one by one: sums of rounded terms are exact in float64."""
        p = (
            np.frombuffer(b"".join(found), dtype="<f4").reshape(len(found), -1).astype(np.float64)
        )  # (N, K)
        truth = np.array(labels)[:, None] == np.arange(p.shape[1])
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        members = (
            np.array([numbers[group] for group in groups]) == np.arange(len(numbers))[:, None]
        )  # (G, N)
        terms = (
            p * FIXED_POINT,
            p * p * FIXED_POINT,
            truth.astype(np.float64),
            (truth - p) ** 2 * FIXED_POINT,
        )
        sums = np.stack([members @ np.rint(each) for each in terms], axis=-1).astype(
            np.int64
        )  # (G, K, 4)
        for group, number in numbers.items():
            for true in np.flatnonzero(sums[number, :, 0] + sums[number, :, 2]).tolist():
                self._count(group, true, *sums[number, true].tolist())

    def _count(
        self, group: _Group, true: int, total: int, squared: int, truth: int, error: int
    ) -> None:
        row = self._rows[
            ClassKey(group.watched_version_id, group.day, group.predicted, group.audited, true)
        ]
        if not group.sign:
            row[0] += total
            row[1] += squared
            return
        for index, term in enumerate((truth, total, squared, error), start=2):
            row[index] += group.sign * term


def add_class_sums(
    connection: Connection, rows: Mapping[ClassKey, Sequence[int]], *, shard: int = 0
) -> None:
    """Add to rows of the class sums."""
    _ADD.run(connection, [(*key, shard, *rows[key]) for key in sorted(rows)])


def subtract_class_sums(connection: Connection, rows: Mapping[ClassKey, Sequence[int]]) -> None:
    """Subtract over all shards; rows that become zero are deleted."""
    sums = [cast(func.coalesce(func.sum(column), 0), BigInteger) for column in SUMS]
    for key, share in rows.items():
        stored = connection.execute(select(*sums).filter_by(**key._asdict())).one()
        left = [int(had) - gone for had, gone in zip(stored, share, strict=True)]
        connection.execute(delete(class_day).filter_by(**key._asdict()))
        if any(left):
            add_class_sums(connection, {key: left})


def stored_class_sums(connection: Connection, *, first_day: int = 0) -> dict[ClassKey, list[int]]:
    """Return every stored row since that day, over all shards."""
    keys = [class_day.c[name] for name in ClassKey._fields]
    sums = [cast(func.sum(column), BigInteger) for column in SUMS]
    rows = connection.execute(
        select(*keys, *sums).where(class_day.c.day >= first_day).group_by(*keys)
    )
    return {ClassKey(*row[:5]): [int(value) for value in row[5:]] for row in rows}


@dataclass(frozen=True)
class ClassSums:
    """The class sums of a version over days.

    Attributes:
        served: over all answers with full probabilities.
        labeled: over those with a label.
        audited: over those of them that were drawn for the random audit.
        since_day: the first day counted; None if there is none.
    """

    served: ProbabilitySums
    labeled: LabeledSums
    audited: LabeledSums
    since_day: int | None


def read_class_sums(
    connection: Connection,
    watched_version_id: int,
    class_count: int,
    *,
    since_day: int | None = None,
) -> ClassSums:
    """Read the class sums of a version; `since_day` is the first day, in days since 1970."""
    columns = class_day.c
    sums = [cast(func.sum(column), BigInteger) for column in SUMS]
    wanted = (
        select(columns.audited, columns.true_class, columns.predicted, func.min(columns.day), *sums)
        .where(columns.watched_version_id == watched_version_id, columns.day >= (since_day or 0))
        .group_by(columns.audited, columns.true_class, columns.predicted)
    )
    found = np.zeros((2, len(SUMS), class_count, class_count))
    first: int | None = None
    for audited, true, predicted, day, *values in connection.execute(wanted):
        found[audited, :, true, predicted] = values
        first = day if first is None else min(first, day)
    for index, column in enumerate(SUMS):
        if column.name not in _COUNTS:
            found[:, index] /= FIXED_POINT
    everything = found.sum(axis=0)
    return ClassSums(
        ProbabilitySums(*everything[:2]), _labeled(everything), _labeled(found[1]), first
    )


def _labeled(sums: FloatArray) -> LabeledSums:
    _, _, counts, total, squared, squared_error = sums
    return LabeledSums(ProbabilitySums(total, squared), counts, squared_error)
