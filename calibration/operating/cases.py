"""The labeled answers that tell a rate, counted by group and day of service."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.bins import FloatArray, IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.diagnosis.facts import AnswerGroup
from calibration.diagnosis.groups import ALL, TAG
from calibration.intervals.stretches import DayCounts
from calibration.operating.claims import BinaryClaim
from calibration.operating.facts import Promise, RateName

VALUES = 51  # of a tag that can have a slice of their own
_DAY_S = 86_400
_FEW_CASES = 5  # below which the reference tells how many answers are such cases


@dataclass(frozen=True)
class Division:
    """G groups of answers, and the part of the allowed error of each.

    Attributes:
        code: (N,) number of the answer's group; -1: none.
        day: (N,) number, among `days` (D,) since 1970, of the day on which it was served.
        patient: (N,) number of a patient in one of the groups, -1 if not known; None if no answer
            has one.
    """

    groups: tuple[AnswerGroup, ...]
    part: float
    code: IntArray
    day: IntArray
    days: IntArray
    patient: IntArray | None

    def by_day(self, rows: IntArray, weight: FloatArray | None = None) -> FloatArray:
        """Sums (G, D) of answers, each of a group."""
        size = (len(self.groups), len(self.days))
        cell = self.code[rows] * size[1] + self.day[rows]
        return np.bincount(cell, weight, math.prod(size)).astype(np.float64).reshape(size)

    def since(self, day: int | None) -> BoolArray:
        """Answers (N,) of a group that were served since a day."""
        return (self.code >= 0) & (self.days >= (day or 0))[self.day]


def divisions(answers: Answers, keys: Sequence[str]) -> Iterator[Division]:
    """All answers, and those with each value of a watched key."""
    days, day = np.unique((answers.served_s // _DAY_S).astype(np.int64), return_inverse=True)
    part = 0.5 if keys else 1.0
    yield Division((AnswerGroup(ALL),), part, np.zeros_like(day), day, days, answers.patient)
    for key in keys:
        tag, part = answers.tags.get(key), 0.5 / len(keys) / VALUES
        if tag is not None:
            groups = tuple(AnswerGroup(TAG + key, (value,)) for value in tag.names)
            patient = None if answers.patient is None else _by_group(answers.patient, tag.codes)
            yield Division(groups, part, tag.codes, day, days, patient)


def _by_group(patient: IntArray, code: IntArray) -> IntArray:
    """Other numbers for a patient in each group."""
    known = np.flatnonzero(patient >= 0)
    number = np.full(len(patient), -1)
    both = patient[known] * (code.max(initial=0) + 2) + code[known]
    number[known] = np.unique(both, return_inverse=True)[1]
    return number


class Cases:
    """The labeled answers of each group that tell a rate.

    Attributes:
        labels: (G,) of the groups, also of answers that do not tell the rate.
        count: (G, D) answers that tell it; `worth`: the same, a patient counting once.
    """

    def __init__(
        self, division: Division, claim: BinaryClaim, name: RateName, labeled: BoolArray
    ) -> None:
        self.division, self.claim, self.name, self._labeled = division, claim, name, labeled
        known = labeled & (division.code >= 0)
        self.labels = np.bincount(division.code[known], minlength=len(division.groups))
        among, self._right = claim.cases(name)
        self._tells = known & among
        rows = np.flatnonzero(self._tells)
        right, weight = self._right[rows], self._weights(rows)
        of_right = None if weight is None else weight[right]
        self.count = division.by_day(rows)
        self.worth = DayCounts(
            division.days, division.by_day(rows, weight), division.by_day(rows[right], of_right)
        )

    def _weights(self, rows: IntArray) -> FloatArray | None:
        if self.division.patient is None:
            return None
        patient = self.division.patient[rows]
        known = patient >= 0
        weight = np.ones(len(rows))
        weight[known] = 1 / np.bincount(patient[known])[patient[known]]
        return weight

    def as_served(self, chosen: BoolArray) -> FloatArray:
        """The rates (G,) at the weights of these answers (N,); NaN where not known."""
        rows, size = np.flatnonzero(chosen), len(self.labels)
        group = self.division.code[rows]
        weight = self.claim.weights(rows, self._labeled, group) * self._tells[rows]
        total = np.bincount(group, weight, size)
        of_right = np.bincount(group, weight * self._right[rows], size)
        with np.errstate(invalid="ignore"):
            return np.asarray(of_right / total)

    def counted(self, group: int, since_day: int | None) -> int:
        """How many answers of a group that were served since a day."""
        return int(self.count[group, self.division.days >= (since_day or 0)].sum())

    def share(self, group: int, promise: Promise | None, reference: int) -> float:
        """Of a group's labeled answers, those that tell; on the reference if labels show few."""
        cases = int(self.count[group].sum())
        if cases >= _FEW_CASES or promise is None:
            return max(cases, 1) / max(int(self.labels[group]), 1)
        return promise.n / reference
