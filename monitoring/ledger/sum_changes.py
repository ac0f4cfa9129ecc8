"""What one transaction adds to the sums per slice, day and confidence bin, and per class."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np
from sqlalchemy import Connection

from calibration.bins import bin_of
from monitoring.ledger.class_sums import ClassChanges
from monitoring.ledger.schema import DAY_NS
from monitoring.ledger.slices import SliceKeys, SliceNames, is_doubtful
from monitoring.ledger.sum_tables import CLASSES, FIXED_POINT, SumKey, add_sums, to_fixed_point

_Key = TypeVar("_Key")
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
    """What one transaction adds. Values are lists that are added to in place; answers are rows
    with the columns of `prediction`.

    The lists of `corrected` hold: answers that became correct, those that became incorrect, and the
    sums of the confidence of either. These determine the changes of correct and of squared_error.
    """

    classes: ClassChanges = field(default_factory=ClassChanges)
    corrected: dict[DayBin, list[float]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0, 0.0, 0.0])
    )
    _served: dict[_Cell, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0.0]))
    _labeled: dict[tuple[_Cell, int], list[float]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0.0, 0, 0.0, 0.0])
    )
    _moved: list[tuple[Any, int, int]] = field(default_factory=list)

    @property
    def served(self) -> dict[DayBin, list[float]]:
        """Over all slices, by day and bin: served, served_confidence."""
        return _merged(self._served.items())

    @property
    def labeled(self) -> dict[DayBin, list[float]]:
        """First labels by day and bin: n, confidence, correct, variance, squared_error."""
        return _merged((cell, sums) for (cell, _), sums in self._labeled.items())

    def serve(self, answers: Iterable[Any]) -> None:
        for answer in answers:
            cell = _cell(answer)
            sums = self._served[cell]
            sums[0] += 1
            sums[1] += to_fixed_point(answer.confidence)
            if answer.probabilities:
                self.classes.add(_of_class(cell), answer.probabilities)

    def label(self, answers: Sequence[Any], labels: Sequence[int]) -> None:
        """Count the first labels of answers, each the index of a class."""
        if not answers:
            return
        number: dict[tuple[_Cell, int], int] = {}
        group = []
        for answer, label in zip(answers, labels, strict=True):
            cell = _cell(answer)
            group.append(number.setdefault((cell, label), len(number)))
            self.classes.add(_of_class(cell), answer.probabilities, label=label, sign=1)
        predicted = [answer.predicted for answer in answers]
        terms = label_terms(
            np.array([answer.confidence for answer in answers]),
            np.array(labels) == np.array(predicted),
        )
        sums = [np.bincount(group, weights=term).tolist() for term in terms]
        for key, (n, s, c, v, q) in zip(number, zip(*sums, strict=True), strict=True):
            _add(self._labeled[key], (int(n), s, int(c), v, q))

    def correct(self, answer: Any, old: int, new: int) -> None:
        """Move an answer whose label was corrected from class `old` to class `new`."""
        self._moved.append((answer, old, new))
        cell = _cell(answer)
        for label, sign in ((old, -1), (new, 1)):
            self.classes.add(_of_class(cell), answer.probabilities, label=label, sign=sign)
        predicted, p = answer.predicted, to_fixed_point(answer.confidence)
        was, now = int(old == predicted), int(new == predicted)
        if was != now:
            _add(self.corrected[cell[:3]], (now, was, now * p, was * p))

    def save(self, connection: Connection, slices: SliceNames, *, shard: int = 0) -> None:
        """Add everything to the ledger."""
        add_sums(connection, self.totals(connection, slices), shard=shard)
        CLASSES.add(connection, self.classes.rows(), shard=shard)

    def totals(self, connection: Connection, slices: SliceNames) -> dict[SumKey, list[float]]:
        """Return what each row of the day sums gains: all seven sums."""
        totals: dict[SumKey, list[float]] = {}
        for (watched_version_id, day, bin_number), names, sums in self._by_slice(
            connection, slices
        ):
            for name in names:
                _gain(totals, SumKey(watched_version_id, name, day, bin_number), sums)
        return totals

    def _by_slice(
        self, connection: Connection, slices: SliceNames
    ) -> Iterator[tuple[DayBin, tuple[str, ...], tuple[float, ...]]]:
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
                [float(term) for term in label_terms(answer.confidence, label == answer.predicted)]
                for label in (old, new)
            )
            moved = [after - before for before, after in zip(was, now, strict=True)]
            yield day_bin, names(cell), (*_NO_ANSWERS, *moved)
            for label, terms in ((old, [-term for term in was]), (new, now)):
                true = slices.true(cell[0], label)
                yield day_bin, (true,), (*_NO_ANSWERS, *terms)


_NO_ANSWERS = (0, 0.0)
_NO_LABELS = (0, 0.0, 0, 0.0, 0.0)


def label_terms(confidence: Any, correct: Any) -> tuple[Any, ...]:
    """Return what labeled answers add: n, confidence, correct, variance, squared_error.

    Both arguments are numbers, or arrays (N,).

    >>> [float(term) for term in label_terms(0.75, True)]
    [1.0, 0.75, 1.0, 0.1875, 0.0625]
    """
    p, right = _rounded(np.asarray(confidence)), np.asarray(correct, dtype=np.float64)
    return np.ones_like(p), p, right, _rounded(p * (1 - p)), _rounded((right - p) ** 2)


def _rounded(values: Any) -> Any:
    return np.rint(values * FIXED_POINT) / FIXED_POINT


def _of_class(cell: _Cell) -> tuple[int, int, int, int]:
    watched_version_id, day, _, predicted, _, audited, _ = cell
    return watched_version_id, day, predicted, int(audited)


def _add(sums: list[float], terms: Iterable[float]) -> None:
    for index, term in enumerate(terms):
        sums[index] += term


def _gain(totals: dict[_Key, list[float]], key: _Key, sums: Iterable[float]) -> None:
    """Add sums to those of a key, which may be new."""
    if key in totals:
        _add(totals[key], sums)
    else:
        totals[key] = list(sums)


def _merged(pairs: Iterable[tuple[_Cell, list[float]]]) -> dict[DayBin, list[float]]:
    merged: dict[DayBin, list[float]] = {}
    for cell, sums in pairs:
        _gain(merged, cell[:3], sums)
    return merged
