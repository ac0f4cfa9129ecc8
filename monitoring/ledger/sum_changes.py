"""What one transaction adds to the sums per slice, day and confidence bin, and per class."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection

from calibration.bins import bin_of
from monitoring.ledger.class_sums import ClassChanges
from monitoring.ledger.schema import DAY_NS
from monitoring.ledger.slices import SliceKeys, SliceNames, is_doubtful
from monitoring.ledger.sum_tables import CLASSES, FIXED_POINT, SumKey, add_sums, to_fixed_point


class DayBin(NamedTuple):
    """Where an answer is counted: version, UTC day of service, confidence bin."""

    watched_version_id: int
    day: int
    bin: int


class Counted(NamedTuple):
    """An answer as the sums see it. `probabilities`: (K,) float32, empty if not known."""

    day_bin: DayBin
    confidence: float
    slice_keys: SliceKeys
    probabilities: bytes


def as_counted(rows: Sequence[Any]) -> list[Counted]:
    """Return rows that have the columns of `prediction` as the sums see them."""
    return [
        Counted(
            DayBin(row.watched_version_id, row.served_at_ns // DAY_NS, bin_of(row.confidence)),
            row.confidence,
            SliceKeys(row.predicted, row.tags, row.audit is not None, is_doubtful(row.scope_p)),
            row.probabilities,
        )
        for row in rows
    ]


@dataclass
class SumChanges:
    """What one transaction adds. Values are lists that are added to in place.

    The lists of `corrected` hold: answers that became correct, those that became incorrect, and the
    sums of the confidence of either. These determine the changes of correct and of squared_error.
    """

    classes: ClassChanges = field(default_factory=ClassChanges)
    corrected: dict[DayBin, list[float]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0, 0.0, 0.0])
    )
    _served: dict[tuple[DayBin, SliceKeys], list[float]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0.0])
    )
    _labeled: dict[tuple[DayBin, SliceKeys, int], list[float]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0.0, 0, 0.0, 0.0])
    )
    _moved: list[tuple[Counted, int, int]] = field(default_factory=list)

    @property
    def served(self) -> dict[DayBin, list[float]]:
        """Over all slices, by day and bin: served, served_confidence."""
        return _merged((day_bin, sums) for (day_bin, _), sums in self._served.items())

    @property
    def labeled(self) -> dict[DayBin, list[float]]:
        """First labels by day and bin: n, confidence, correct, variance, squared_error."""
        return _merged((day_bin, sums) for (day_bin, _, _), sums in self._labeled.items())

    def serve(self, answers: Iterable[Counted]) -> None:
        """Count answers."""
        for answer in answers:
            terms = (1, to_fixed_point(answer.confidence))
            _add(self._served[answer.day_bin, answer.slice_keys], terms)
            self.classes.add(_of_class(answer), answer.probabilities)

    def label(self, answers: Sequence[Counted], labels: Sequence[int]) -> None:
        """Count the first labels of answers, each the index of a class."""
        if not answers:
            return
        number: dict[tuple[DayBin, SliceKeys, int], int] = {}
        group = []
        for answer, label in zip(answers, labels, strict=True):
            key = answer.day_bin, answer.slice_keys, label
            group.append(number.setdefault(key, len(number)))
            self.classes.add(_of_class(answer), answer.probabilities, label=label, sign=1)
        predicted = [answer.slice_keys.predicted for answer in answers]
        terms = label_terms(
            np.array([answer.confidence for answer in answers]),
            np.array(labels) == np.array(predicted),
        )
        sums = [np.bincount(group, weights=term).tolist() for term in terms]
        for key, (n, s, c, v, q) in zip(number, zip(*sums, strict=True), strict=True):
            _add(self._labeled[key], (int(n), s, int(c), v, q))

    def correct(self, answer: Counted, old: int, new: int) -> None:
        """Move an answer whose label was corrected from class `old` to class `new`."""
        self._moved.append((answer, old, new))
        for label, sign in ((old, -1), (new, 1)):
            self.classes.add(_of_class(answer), answer.probabilities, label=label, sign=sign)
        predicted, p = answer.slice_keys.predicted, to_fixed_point(answer.confidence)
        was, now = int(old == predicted), int(new == predicted)
        if was != now:
            _add(self.corrected[answer.day_bin], (now, was, now * p, was * p))

    def save(self, connection: Connection, slices: SliceNames, *, shard: int = 0) -> None:
        """Add everything to the ledger."""
        add_sums(connection, self.totals(connection, slices), shard=shard)
        CLASSES.add(connection, self.classes.rows(), shard=shard)

    def totals(self, connection: Connection, slices: SliceNames) -> dict[SumKey, list[float]]:
        """Return what each row of the day sums gains: all seven sums."""
        totals: dict[SumKey, list[float]] = defaultdict(lambda: [0, 0.0, 0, 0.0, 0, 0.0, 0.0])
        for day_bin, names, sums in self._by_slice(connection, slices):
            for name in names:
                key = SumKey(day_bin.watched_version_id, name, day_bin.day, day_bin.bin)
                _add(totals[key], sums)
        return totals

    def _by_slice(
        self, connection: Connection, slices: SliceNames
    ) -> Iterator[tuple[DayBin, tuple[str, ...], tuple[float, ...]]]:
        """Give (day_bin, slices, all seven sums) for everything that was counted."""

        def names(day_bin: DayBin, keys: SliceKeys) -> tuple[str, ...]:
            return slices.of(connection, day_bin.watched_version_id, keys)

        for (day_bin, keys), served in self._served.items():
            yield day_bin, names(day_bin, keys), (*served, *_NO_LABELS)
        for (day_bin, keys, label), labeled in self._labeled.items():
            true = slices.true(day_bin.watched_version_id, label)
            yield day_bin, (*names(day_bin, keys), true), (*_NO_ANSWERS, *labeled)
        for answer, old, new in self._moved:
            day_bin, keys = answer.day_bin, answer.slice_keys
            was, now = (
                [float(term) for term in label_terms(answer.confidence, label == keys.predicted)]
                for label in (old, new)
            )
            moved = [after - before for before, after in zip(was, now, strict=True)]
            yield day_bin, names(day_bin, keys), (*_NO_ANSWERS, *moved)
            for label, terms in ((old, [-term for term in was]), (new, now)):
                true = slices.true(day_bin.watched_version_id, label)
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


def _of_class(answer: Counted) -> tuple[int, int, int, int]:
    keys = answer.slice_keys
    return *answer.day_bin[:2], keys.predicted, int(keys.audited)


def _add(sums: list[float], terms: Iterable[float]) -> None:
    for index, term in enumerate(terms):
        sums[index] += term


def _merged(pairs: Iterable[tuple[DayBin, list[float]]]) -> dict[DayBin, list[float]]:
    merged: dict[DayBin, list[float]] = {}
    for day_bin, sums in pairs:
        if day_bin in merged:
            _add(merged[day_bin], sums)
        else:
            merged[day_bin] = list(sums)
    return merged
