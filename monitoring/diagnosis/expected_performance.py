"""Performance before labels: what confidence alone expects, what the labels so far make of it, and
whether both agree.

The estimate is of the answers that an inference reads (reading.py). It is as good as the
calibration, which only labels can check. An active alarm contradicts it. Where answers or images
have changed and too few labels have come to check it, its interval is not known: it is then all of
[0, 1].
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from calibration.bins import BinSums, FloatArray
from calibration.diagnosis.answers import Answers
from calibration.measures.confusion import class_rates
from calibration.measures.expected_confusion import (
    ExpectedConfusion,
    LabeledSums,
    ProbabilitySums,
    RateEstimate,
    expected_confusion,
    recalibrated,
)
from monitoring.diagnosis.facts import Diagnosis, State, StateReason
from monitoring.diagnosis.state import FEW_LABELS
from monitoring.ledger.watched_version import WatchedVersion

LEVEL = 0.05
CLASS_LIMIT = 16  # of models with more, nothing is estimated
FEW_OF_A_CLASS = 30  # labels of each predicted class, below which labels correct nothing
# Wrong answers, expected or found, below which the normal approximation decides nothing.
_FEW_CASES = 5


class ClassSums(NamedTuple):
    """Sums over all answers, over those with a label, and over those of them that were drawn for
    the random audit.
    """

    served: ProbabilitySums
    labeled: LabeledSums
    audited: LabeledSums


def sum_classes(answers: Answers) -> ClassSums | None:
    """Sum answers by class; None without any, if one has not all probabilities, and for models
    with more than CLASS_LIMIT classes.
    """
    p, label = answers.probabilities, answers.label
    if p is None or label is None or not len(p) or p.shape[1] > CLASS_LIMIT:
        return None
    labeled = label >= 0
    audited = labeled & answers.drawn if answers.drawn is not None else np.zeros_like(labeled)
    return ClassSums(
        ProbabilitySums.from_probabilities(p, predicted=answers.predicted),
        *(
            LabeledSums.from_predictions(p[some], label[some], predicted=answers.predicted[some])
            for some in (labeled, audited)
        ),
    )


class EstimateStatus(StrEnum):
    """What the labels say about the estimate. `contradicted`: also by an active drift alarm."""

    UNKNOWN = "unknown"
    INPUT_CHANGED = "input-changed"
    NOT_CHECKED = "not-checked"
    AGREES = "agrees"
    CONTRADICTED = "contradicted"


@dataclass(frozen=True)
class ClassEstimate:
    """The estimated sensitivity and specificity of a class."""

    name: str
    sensitivity: RateEstimate
    specificity: RateEstimate


@dataclass(frozen=True)
class PerformanceEstimate:
    """An estimate over some answers.

    Attributes:
        answers: how many; their truth is estimated, except where it is known.
        labels: labels that the estimate rests on; 0 for confidence alone.
        confusion: expected counts, a row per true class, a column per predicted class.
    """

    answers: int
    labels: int
    accuracy: RateEstimate
    classes: tuple[ClassEstimate, ...]
    confusion: tuple[tuple[float, ...], ...]

    def rates(self) -> dict[tuple[str, str | None], RateEstimate]:
        """Return the rates by name and class, in the order in which they are shown."""
        found: dict[tuple[str, str | None], RateEstimate] = {("accuracy", None): self.accuracy}
        for each in self.classes:
            found["sensitivity", each.name] = each.sensitivity
            found["specificity", each.name] = each.specificity
        return found


@dataclass(frozen=True)
class ComparedRate:
    """One rate on the answers with a label: as expected from confidence, and as the labels show.

    Attributes:
        name: `accuracy`, `sensitivity` or `specificity`; `of`: the class, None for accuracy.
        contradicted: whether chance cannot explain the difference at this look, after correction
            for their number.
    """

    name: str
    of: str | None
    expected: RateEstimate
    shown: float
    contradicted: bool


class RateRow(NamedTuple):
    """A rate from confidence, corrected by labels, and on labeled answers; None if not known."""

    title: str
    from_confidence: RateEstimate
    corrected: RateEstimate | None
    compared: ComparedRate | None


@dataclass(frozen=True)
class ExpectedPerformance:
    """What can be said about performance before all labels are there.

    Attributes:
        status: what the labels and the drift watch say about the estimate.
        from_confidence: over all answers, from their probabilities alone; None if there are none.
        corrected: the same corrected by the labels so far; None if a predicted class has too few.
        checked: on the answers with a label, estimate and truth side by side; empty without labels.
        labels: how many those are; `audit`: whether they are those of the random audit.
    """

    status: EstimateStatus
    from_confidence: PerformanceEstimate | None
    corrected: PerformanceEstimate | None
    checked: tuple[ComparedRate, ...]
    labels: int
    audit: bool

    def rows(self, *, of_one: bool = False) -> list[RateRow]:
        """Return every rate as it is estimated and as the labels show it, side by side; `of_one`
        claim, as that of a finding, its share alone, since the sums know no threshold.
        """
        if self.from_confidence is None:
            return []
        corrected = self.corrected.rates() if self.corrected else {}
        compared = {(each.name, each.of): each for each in self.checked}
        return [
            RateRow(": ".join(filter(None, key)), rate, corrected.get(key), compared.get(key))
            for key, rate in self.from_confidence.rates().items()
            if not (of_one and key[1])
        ]


def find_expected_performance(
    row: WatchedVersion,
    sums: ClassSums | None,
    *,
    diagnosis: Diagnosis,
    audit: bool,
    worth: float,
) -> ExpectedPerformance:
    """Estimate the performance.

    `audit`: whether the labels of the audit alone count. `worth`: how many independent labels one
    is worth, in (0, 1].
    """
    if sums is None:
        return ExpectedPerformance(EstimateStatus.UNKNOWN, None, None, (), 0, audit)
    labeled = sums.audited if audit else sums.labeled
    reference = _reference(row, sums.served)
    alone = _described(row, expected_confusion(sums.served, reference=reference), labels=0)
    checked, labels = tuple(_checked(row, labeled, reference, worth)), int(labeled.counts.sum())
    status = _status(checked, labels, diagnosis)
    if status is EstimateStatus.INPUT_CHANGED:
        alone = _without_intervals(alone)
    corrected = _corrected(row, sums.served, labeled)
    return ExpectedPerformance(status, alone, corrected, checked, labels, audit)


def _without_intervals(estimate: PerformanceEstimate) -> PerformanceEstimate:
    """The same with intervals that say nothing."""
    return replace(
        estimate,
        accuracy=replace(estimate.accuracy, lower=0.0, upper=1.0),
        classes=tuple(
            replace(
                each,
                sensitivity=replace(each.sensitivity, lower=0.0, upper=1.0),
                specificity=replace(each.specificity, lower=0.0, upper=1.0),
            )
            for each in estimate.classes
        ),
    )


def _reference(row: WatchedVersion, served: ProbabilitySums) -> FloatArray | None:
    """The reference's answers by predicted class; None if the calibration was never measured."""
    confusion = row.card["calibration"].get("confusion")
    if confusion is not None:
        return np.asarray(np.array(confusion, dtype=np.float64).sum(axis=0))
    total = BinSums.from_rows(row.card["calibration"]["bins"]).total
    return np.asarray(total * served.answers / served.answers.sum()) if total else None


def _corrected(
    row: WatchedVersion, served: ProbabilitySums, labeled: LabeledSums
) -> PerformanceEstimate | None:
    """The labels where there are some, and elsewhere the estimate corrected by what labels showed.

    Where an audit decides, other labels do not count, although they are true: if wrong answers were
    labeled, the answers without a label are right more often than those of the audit.
    """
    if (labeled.counts.sum(axis=0) < FEW_OF_A_CLASS).any():
        return None
    rest = recalibrated(served.minus(labeled.probabilities), labeled)
    if rest is None:
        return None
    return _described(row, rest.plus(labeled.counts), labels=int(labeled.counts.sum()))


def _described(
    row: WatchedVersion, matrix: ExpectedConfusion, *, labels: int
) -> PerformanceEstimate:
    rates = zip(row.classes, matrix.sensitivity, matrix.specificity, strict=True)
    return PerformanceEstimate(
        answers=round(float(matrix.counts.sum())),
        labels=labels,
        accuracy=matrix.accuracy,
        classes=tuple(ClassEstimate(*each) for each in rates),
        confusion=tuple(tuple(each) for each in matrix.counts.tolist()),
    )


def _checked(
    row: WatchedVersion, labeled: LabeledSums, reference: FloatArray | None, worth: float
) -> Iterator[ComparedRate]:
    n = labeled.counts.sum()
    if not n:
        return
    expected = _described(
        row, expected_confusion(labeled.probabilities, reference=reference), labels=0
    ).rates()
    true = class_rates(labeled.counts)
    by_class = zip(true.sensitivity.tolist(), true.specificity.tolist(), strict=True)
    shown = [float(labeled.counts.trace() / n), *(rate for pair in by_class for rate in pair)]
    limit = NormalDist().inv_cdf(1 - LEVEL / (2 * len(shown)))
    for (key, rate), value in zip(expected.items(), shown, strict=True):
        yield ComparedRate(*key, rate, value, _is_contradicted(rate, value, limit, worth))


def _is_contradicted(rate: RateEstimate, shown: float, limit: float, worth: float) -> bool:
    if not (math.isfinite(rate.value) and math.isfinite(shown)):
        return False
    cases = [rate.n * (1 - min(rate.value, shown)), rate.n * max(rate.value, shown)]
    error = rate.deviation / math.sqrt(worth)
    return worth * min(cases) >= _FEW_CASES and abs(shown - rate.value) > limit * error


def _status(checked: tuple[ComparedRate, ...], labels: int, diagnosis: Diagnosis) -> EstimateStatus:
    if diagnosis.state in (State.ALARM, State.LOOK) or any(each.contradicted for each in checked):
        return EstimateStatus.CONTRADICTED
    if StateReason.INPUT_CHANGED in diagnosis.reasons:
        return EstimateStatus.INPUT_CHANGED
    if labels < FEW_LABELS:
        is_changed = any(each.raised for each in diagnosis.early_signs)
        return EstimateStatus.INPUT_CHANGED if is_changed else EstimateStatus.NOT_CHECKED
    return EstimateStatus.AGREES
