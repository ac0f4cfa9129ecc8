"""What one transaction adds to the sums per slice, day and confidence bin, collected answer by
answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from calibration.bins import FloatArray
from monitoring.ledger.class_sums import ClassChanges
from monitoring.ledger.slices import SliceKeys, SliceNames
from monitoring.ledger.sums import FIXED_POINT, SumKey, add_sums, to_fixed_point


class DayBin(NamedTuple):
    """Where an answer is counted: its version, the UTC day on which it was served, and its
    confidence bin.
    """

    watched_version_id: int
    day: int
    bin: int


# A labeled answer: watched version id, day, bin; predicted class, tags, audited; label.
LabelKey = tuple[int, int, int, int, str | None, bool, int]


class Counted(NamedTuple):
    """An answer as the sums see it."""

    day_bin: DayBin
    confidence: float
    slice_keys: SliceKeys
    probabilities: bytes = b""  # (K,) float32, empty if only the confidence is known


def label_terms(confidence: float, correct: bool) -> tuple[int, float, int, float, float]:
    """Return what one labeled answer adds: n, confidence, correct, variance, squared_error.

    >>> label_terms(0.75, True)
    (1, 0.75, 1, 0.1875, 0.0625)
    """
    p = to_fixed_point(confidence)
    return (
        1,
        p,
        int(correct),
        to_fixed_point(p * (1 - p)),
        to_fixed_point((correct - p) * (correct - p)),
    )


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
        """Over all slices, by day and bin: n, confidence, correct, variance, squared_error of first
        labels.
        """
        return _merged((day_bin, sums) for (day_bin, _, _), sums in self._labeled.items())

    def serve(self, answer: Counted) -> None:
        """Count an answer."""
        _add(
            self._served[answer.day_bin, answer.slice_keys], (1, to_fixed_point(answer.confidence))
        )
        self.classes.serve(*_classed(answer))

    def label(self, answer: Counted, label: int) -> None:
        """Count the first label of an answer, the index of a class."""
        _add(self._labeled[answer.day_bin, answer.slice_keys, label], _terms(answer, label))
        self.classes.label(*_classed(answer), label)

    def label_many(
        self,
        keys: Sequence[LabelKey],
        confidence: FloatArray,
        correct: npt.NDArray[np.bool_],
        probabilities: Sequence[bytes],
    ) -> None:
        """Count first labels, bit for bit as `label` does one by one. `confidence` and `correct`:
        (N,).
        """
        for key, known in zip(keys, probabilities, strict=True):
            self.classes.label(key[:2], key[3], key[5], known, key[6])
        number: dict[LabelKey, int] = {}
        group = [number.setdefault(key, len(number)) for key in keys]
        p = np.rint(confidence * FIXED_POINT) / FIXED_POINT
        squared = (correct - p) * (correct - p)
        terms = (
            np.ones_like(p),
            p,
            correct,
            np.rint(p * (1 - p) * FIXED_POINT) / FIXED_POINT,
            np.rint(squared * FIXED_POINT) / FIXED_POINT,
        )
        sums = [np.bincount(group, weights=term).tolist() for term in terms]
        for key, (n, s, c, v, q) in zip(number, zip(*sums, strict=True), strict=True):
            day_bin, slice_keys = DayBin(*key[:3]), SliceKeys(*key[3:6])
            _add(self._labeled[day_bin, slice_keys, key[6]], (int(n), s, int(c), v, q))

    def correct(self, answer: Counted, old: int, new: int) -> None:
        """Move an answer whose label was corrected from class `old` to class `new`."""
        self._moved.append((answer, old, new))
        self.classes.label(*_classed(answer), old, sign=-1)
        self.classes.label(*_classed(answer), new)
        (_, p, was_correct, *_), (_, _, is_correct, *_) = _terms(answer, old), _terms(answer, new)
        if was_correct != is_correct:
            _add(
                self.corrected[answer.day_bin],
                (is_correct, was_correct, is_correct * p, was_correct * p),
            )

    def save(self, connection: Connection, slices: SliceNames, *, shard: int = 0) -> None:
        """Add everything to the ledger in the order of the table's key, so that concurrent writers
        cannot deadlock.
        """
        add_sums(connection, self.totals(connection, slices), shard=shard)
        self.classes.save(connection, shard=shard)

    def totals(self, connection: Connection, slices: SliceNames) -> "dict[SumKey, list[float]]":
        """Return what each row of the day sums gains: all seven sums."""
        totals: dict[SumKey, list[float]] = defaultdict(lambda: [0, 0.0, 0, 0.0, 0, 0.0, 0.0])
        for day_bin, names, sums in self._by_slice(connection, slices):
            for name in names:
                _add(
                    totals[SumKey(day_bin.watched_version_id, name, day_bin.day, day_bin.bin)], sums
                )
        return totals

    def _by_slice(
        self, connection: Connection, slices: SliceNames
    ) -> Iterator[tuple[DayBin, tuple[str, ...], tuple[float, ...]]]:
        """Give (day_bin, slices, all seven sums) for everything that was counted."""
        for (day_bin, slice_keys), served in self._served.items():
            yield (
                day_bin,
                slices.of(connection, day_bin.watched_version_id, slice_keys),
                (*served, *_NO_LABELS),
            )
        for (day_bin, slice_keys, label), labeled in self._labeled.items():
            names = (
                *slices.of(connection, day_bin.watched_version_id, slice_keys),
                slices.true(day_bin.watched_version_id, label),
            )
            yield day_bin, names, (*_NO_ANSWERS, *labeled)
        for answer, old, new in self._moved:
            day_bin, was, now = answer.day_bin, _terms(answer, old), _terms(answer, new)
            moved = tuple(after - before for before, after in zip(was, now, strict=True))
            yield (
                day_bin,
                slices.of(connection, day_bin.watched_version_id, answer.slice_keys),
                (*_NO_ANSWERS, *moved),
            )
            left = tuple(-term for term in was)
            yield day_bin, (slices.true(day_bin.watched_version_id, old),), (*_NO_ANSWERS, *left)
            yield day_bin, (slices.true(day_bin.watched_version_id, new),), (*_NO_ANSWERS, *now)


_NO_ANSWERS = (0, 0.0)
_NO_LABELS = (0, 0.0, 0, 0.0, 0.0)


def _classed(answer: Counted) -> tuple[tuple[int, int], int, bool, bytes]:
    """Where the class sums count an answer: version and day, predicted class, audited; and its
    probabilities.
    """
    keys = answer.slice_keys
    return answer.day_bin[:2], keys.predicted, keys.audited, answer.probabilities


def _terms(answer: Counted, label: int) -> tuple[int, float, int, float, float]:
    return label_terms(answer.confidence, label == answer.slice_keys.predicted)


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
