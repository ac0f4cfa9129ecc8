"""What one transaction adds to the sums: per slice, day and confidence bin, and of the brightness
of inputs.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from calibration.bins import bin_of
from monitoring.ledger.database import adding
from monitoring.ledger.schema import DAY_NS, input_day
from monitoring.ledger.sum_tables import (
    DAYS,
    GRAY_UNIT,
    INPUT_SUMS,
    TOTALS,
    UNITS,
    SliceKeys,
    SliceNames,
    SumKey,
    add,
    add_sums,
    is_doubtful,
)

# Where an answer is counted: version, UTC day of service, confidence bin.
DayBin: TypeAlias = tuple[int, int, int]
# That and SliceKeys in one; plain, since each answer makes one.
_Cell: TypeAlias = tuple[int, int, int, int, str | None, bool, bool]


def _cell(answer: Any) -> _Cell:
    """Where an answer is counted; it has the columns of `prediction`."""
    return (
        answer.watched_version_id,
        answer.served_at_ns // DAY_NS,
        bin_of(answer.confidence),
        answer.predicted,
        answer.tags,
        answer.audit is not None,
        is_doubtful(answer.scope_p),
    )


@dataclass
class SumChanges:
    """What one transaction adds; answers are rows with the columns of `prediction`.

    `corrected`: answers, by watched version id and whether another label made them correct.
    """

    corrected: Counter[tuple[int, bool]] = field(default_factory=Counter)
    _served: dict[_Cell, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    _labeled: dict[tuple[_Cell, int], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0] * 5)
    )
    _moved: list[tuple[Any, int, int]] = field(default_factory=list)

    @property
    def served(self) -> Counter[int]:
        """Answers by watched version id."""
        return _counted((cell[0], sums[0]) for cell, sums in self._served.items())

    @property
    def labeled(self) -> Counter[int]:
        """First labels by watched version id."""
        return _counted((cell[0], sums[0]) for (cell, _), sums in self._labeled.items())

    def serve(self, answers: Iterable[Any]) -> None:
        for answer in answers:
            sums = self._served[_cell(answer)]
            sums[0] += 1
            sums[1] += round(answer.confidence * UNITS)

    def label(self, answers: Sequence[Any], labels: Sequence[int]) -> None:
        """Count the first labels of answers, each the index of a class."""
        if not answers:
            return
        number: dict[tuple[_Cell, int], int] = {}
        group = []
        for answer, label in zip(answers, labels, strict=True):
            group.append(number.setdefault((_cell(answer), label), len(number)))
        predicted = [answer.predicted for answer in answers]
        terms = label_terms(
            np.array([answer.confidence for answer in answers]),
            np.array(labels) == np.array(predicted),
        )
        sums = [np.bincount(group, weights=term).tolist() for term in terms]
        for key, of_group in zip(number, zip(*sums, strict=True), strict=True):
            self._labeled[key] = add(self._labeled[key], map(int, of_group))

    def correct(self, answer: Any, old: int, new: int) -> None:
        """Move an answer whose label was corrected from class `old` to class `new`."""
        self._moved.append((answer, old, new))
        was, now = old == answer.predicted, new == answer.predicted
        if was != now:
            self.corrected[answer.watched_version_id, now] += 1

    def save(self, connection: Connection, slices: SliceNames, *, shard: int = 0) -> None:
        add_sums(connection, self.totals(connection, slices), shard=shard)
        left = [
            SumKey(cell[0], slices.true(cell[0], old), *cell[1:3])
            for answer, old, _ in self._moved
            for cell in (_cell(answer),)
        ]  # which labels alone count in, and those of a version wait for each other
        DAYS.drop_empty(connection, left)
        TOTALS.drop_empty(connection, [key.total for key in left])

    def totals(self, connection: Connection, slices: SliceNames) -> dict[SumKey, list[int]]:
        """Return what each row of the day sums gains: all seven sums."""
        totals: dict[SumKey, list[int]] = {}
        for (watched_version_id, day, bin_number), names, sums in self._by_slice(
            connection, slices
        ):
            for name in names:
                key = SumKey(watched_version_id, name, day, bin_number)
                totals[key] = add(totals[key], sums) if key in totals else list(sums)
        return totals

    def _by_slice(
        self, connection: Connection, slices: SliceNames
    ) -> Iterator[tuple[DayBin, tuple[str, ...], tuple[int, ...]]]:
        """Give (day_bin, slices, all seven sums) for everything that was counted."""

        def names(cell: _Cell) -> tuple[str, ...]:
            return slices.of(connection, cell[0], SliceKeys(*cell[3:]))

        for cell, served in self._served.items():
            yield cell[:3], names(cell), (*served, *_NO_LABELS)
        for (cell, label), labeled in self._labeled.items():
            true = slices.true(cell[0], label)
            yield cell[:3], (*names(cell), true), (*_NO_ANSWERS, *labeled)
        for answer, old, new in self._moved:
            cell = _cell(answer)
            day_bin = cell[:3]
            was, now = (
                [int(term) for term in label_terms(answer.confidence, label == answer.predicted)]
                for label in (old, new)
            )
            moved = [after - before for before, after in zip(was, now, strict=True)]
            yield day_bin, names(cell), (*_NO_ANSWERS, *moved)
            for label, terms in ((old, [-term for term in was]), (new, now)):
                true = slices.true(cell[0], label)
                yield day_bin, (true,), (*_NO_ANSWERS, *terms)


_NO_ANSWERS = (0, 0)
_NO_LABELS = (0, 0, 0, 0, 0)


def label_terms(confidence: Any, correct: Any) -> tuple[Any, ...]:
    """Return what labeled answers add: n, confidence, correct, variance, squared_error, as the
    tables have them.

    Both arguments are numbers, or arrays (N,).

    >>> [int(term) / UNITS for term in label_terms(0.75, True)][1:4:2]
    [0.75, 0.1875]
    """
    right, units = np.asarray(correct, dtype=np.float64), np.rint(np.asarray(confidence) * UNITS)
    p = units / UNITS
    spread, error = p * (1 - p), (right - p) ** 2
    return np.ones_like(p), units, right, np.rint(spread * UNITS), np.rint(error * UNITS)


def _counted(pairs: Iterable[tuple[int, int]]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for watched_version_id, count in pairs:
        counts[watched_version_id] += count
    return counts


_ADD_INPUTS = adding(input_day)


class InputSums(NamedTuple):
    """What a batch adds to a day, in the order and the units of the table's columns."""

    watched_version_id: int
    day: int
    sums: tuple[int, ...]


def input_sums(
    watched_version_id: int, day: int, measured: npt.NDArray[np.float64], *, trained_on: int = 0
) -> InputSums:
    """Sum mean and contrast, (N, 2) as of `model_store.image.brightness`.

    `trained_on`: how many of the images the model has seen in training.
    """
    values = np.rint(measured / GRAY_UNIT) * GRAY_UNIT
    sums, squares = (
        np.rint(each / GRAY_UNIT).sum(axis=0).tolist() for each in (values, values * values)
    )
    (mean, contrast), (mean_squared, contrast_squared) = sums, squares
    levels = (int(mean), int(mean_squared), int(contrast), int(contrast_squared))
    return InputSums(watched_version_id, day, (len(measured), *levels, trained_on))


def add_inputs(connection: Connection, batches: Iterable[InputSums], *, shard: int = 0) -> None:
    """Add batches to their days in the order of the key, so that writers cannot deadlock."""
    totals: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * len(INPUT_SUMS))
    for batch in batches:
        key = batch.watched_version_id, batch.day
        totals[key] = add(totals[key], batch.sums)
    _ADD_INPUTS.run(connection, [(*key, shard, *totals[key]) for key in sorted(totals)])
