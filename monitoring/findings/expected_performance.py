"""Performance before labels: what confidence alone expects, what the labels so far make of it, and
whether both agree.

The estimate is as good as the calibration, which only labels can check. So wherever it is stated,
its sentence says what the labels say about it, and an active drift alarm contradicts it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection

from calibration.bins import BinSums, FloatArray
from calibration.measures.confusion import class_rates
from calibration.measures.expected_confusion import (
    ExpectedConfusion,
    LabeledSums,
    ProbabilitySums,
    RateEstimate,
    expected_confusion,
    recalibrated,
)
from calibration.wording import counted
from monitoring.findings.audit import FEW_LABELS
from monitoring.findings.phrases import percent
from monitoring.findings.selection import COMPLETE, LabelSelection
from monitoring.ledger.class_sums import CLASS_LIMIT, ClassSums, read_class_sums
from monitoring.ledger.versions import WatchedVersion

LEVEL = 0.05
FEW_OF_A_CLASS = 30  # labels of each predicted class, below which labels correct nothing
# Wrong answers, expected or found, below which the normal approximation decides nothing.
_FEW_CASES = 5
_SHOWN_UNCOVERED = 0.01
HOLDS = "This holds only while confidence is calibrated in the answers of each class."

OTHER_CLASSES = (
    " Sensitivity and specificity rest on the probabilities of all classes; confidence, that of "
    "the answer, may hold all the same."
)


class EstimateStatus(StrEnum):
    """What the labels say about the estimate. `contradicted`: also by an active drift alarm."""

    UNKNOWN = "unknown"
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
        sentence: the estimate with what limits it.
        from_confidence: over all answers of the window, from their probabilities alone; None if
            there are none.
        corrected: the same corrected by the labels so far; None if a predicted class has too few.
        checked: on the answers with a label, estimate and truth side by side; empty without labels.
        labels: how many those are; `audit`: whether they are those of the random audit.
    """

    status: EstimateStatus
    sentence: str
    from_confidence: PerformanceEstimate | None
    corrected: PerformanceEstimate | None
    checked: tuple[ComparedRate, ...]
    labels: int
    audit: bool

    def rows(self) -> list[RateRow]:
        """Return every rate as it is estimated and as the labels show it, side by side."""
        if self.from_confidence is None:
            return []
        corrected = self.corrected.rates() if self.corrected else {}
        compared = {(each.name, each.of): each for each in self.checked}
        return [
            RateRow(": ".join(filter(None, key)), rate, corrected.get(key), compared.get(key))
            for key, rate in self.from_confidence.rates().items()
        ]


def find_expected_performance(
    connection: Connection,
    row: WatchedVersion,
    *,
    since_day: int | None,
    served: int,
    alarm: str | None,
    selection: LabelSelection,
) -> ExpectedPerformance:
    """Estimate the performance over a window's days, on which `served` answers were given.

    `alarm`: whose drift alarm is active, "" for that of all answers, " of site=A" for a tag's; None
        if none is.
    """
    sums = read_class_sums(
        connection, row.watched_version_id, len(row.classes), since_day=since_day
    )
    ever = sums
    if since_day is not None and not _corrects(_basis(sums, selection)):
        ever = read_class_sums(connection, row.watched_version_id, len(row.classes))
    correction = _basis(ever, selection)
    if not sums.served.total.any():
        unknown, audit = _unknown(row, served), selection.audit_decides
        return ExpectedPerformance(EstimateStatus.UNKNOWN, unknown, None, None, (), 0, audit)
    reference = _reference(row, sums.served)
    alone = _described(row, expected_confusion(sums.served, reference=reference), labels=0)
    labeled = _basis(sums, selection)
    corrected = _corrected(row, sums.served, labeled, correction)
    checked = tuple(_checked(row, labeled, reference))
    labels = int(labeled.counts.sum())
    status = _status(checked, labels, alarm)
    found = ExpectedPerformance(
        status, "", alone, corrected, checked, labels, selection.audit_decides
    )
    return replace(found, sentence=_sentence(found, alone, served, alarm, selection))


def _basis(sums: ClassSums, selection: LabelSelection) -> LabeledSums:
    return sums.audited if selection.audit_decides else sums.labeled


def _corrects(labeled: LabeledSums) -> bool:
    return bool((labeled.counts.sum(axis=0) >= FEW_OF_A_CLASS).all())


def _reference(row: WatchedVersion, served: ProbabilitySums) -> FloatArray | None:
    """The reference's answers by predicted class; None if the calibration was never measured."""
    confusion = row.card["calibration"].get("confusion")
    if confusion is not None:
        return np.asarray(np.array(confusion, dtype=np.float64).sum(axis=0))
    total = BinSums.from_rows(row.card["calibration"]["bins"]).total
    return np.asarray(total * served.answers / served.answers.sum()) if total else None


def _corrected(
    row: WatchedVersion, served: ProbabilitySums, labeled: LabeledSums, correction: LabeledSums
) -> PerformanceEstimate | None:
    """The labels where there are some, and elsewhere the estimate corrected by what labels showed.

    Where an audit decides, other labels do not count, although they are true: if wrong answers were
    labeled, the answers without a label are right more often than those of the audit.
    """
    if not _corrects(correction):
        return None
    rest = recalibrated(served.minus(labeled.probabilities), correction)
    if rest is None:
        return None
    return _described(row, rest.plus(labeled.counts), labels=int(correction.counts.sum()))


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
    row: WatchedVersion, labeled: LabeledSums, reference: FloatArray | None
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
        yield ComparedRate(*key, rate, value, _is_contradicted(rate, value, limit))


def _is_contradicted(rate: RateEstimate, shown: float, limit: float) -> bool:
    if not (math.isfinite(rate.value) and math.isfinite(shown)):
        return False
    cases = [rate.n * (1 - min(rate.value, shown)), rate.n * max(rate.value, shown)]
    return min(cases) >= _FEW_CASES and abs(shown - rate.value) > limit * rate.deviation


def _status(checked: tuple[ComparedRate, ...], labels: int, alarm: str | None) -> EstimateStatus:
    if alarm is not None:
        return EstimateStatus.CONTRADICTED
    if labels < FEW_LABELS:
        return EstimateStatus.NOT_CHECKED
    return (
        EstimateStatus.CONTRADICTED
        if any(each.contradicted for each in checked)
        else EstimateStatus.AGREES
    )


def _unknown(row: WatchedVersion, served: int) -> str:
    if not served:
        return "There are no answers yet from which performance could be estimated."
    if len(row.classes) > CLASS_LIMIT:
        return f"Performance is not estimated from confidence for more than {CLASS_LIMIT} classes."
    return (
        "Performance cannot be estimated: the ledger has no answers with the probabilities of all "
        "classes."
    )


def _sentence(
    found: ExpectedPerformance,
    alone: PerformanceEstimate,
    served: int,
    alarm: str | None,
    selection: LabelSelection,
) -> str:
    part = "" if alone.answers >= served else f" whose probabilities are known (of {served:,})"
    told = [
        f"By its own confidence the model is right in {percent(alone.accuracy.value)} of "
        f"{counted(alone.answers, 'answer')}{part} ({_interval(alone.accuracy)}).",
        HOLDS,
        _check_words(found, alarm, selection),
        _correction_words(found, selection),
    ]
    return " ".join(filter(None, told))


def _check_words(found: ExpectedPerformance, alarm: str | None, selection: LabelSelection) -> str:
    compared = _comparison(found)
    if found.status is EstimateStatus.CONTRADICTED:
        if alarm is not None:
            return f"The drift alarm{alarm} is active, so do not rely on it.{compared}"
        others = "" if found.checked[0].contradicted else OTHER_CLASSES
        return (
            "The labels contradict it at this look, so do not rely on "
            f"it.{compared}{others}{_if_chosen(selection)}"
        )
    if found.status is EstimateStatus.NOT_CHECKED:
        return (
            f"Labels have not checked that: there are {found.labels:,}, and {FEW_LABELS} are "
            "needed."
        )
    uncovered = selection.uncovered
    rest = (
        f" Nothing checks it in the {percent(uncovered)} of answers at whose confidence there is "
        "no label."
        if uncovered > _SHOWN_UNCOVERED
        else ""
    )
    rates = len(found.checked)
    corrected = f", after correction for the {rates} rates compared" if rates > 1 else ""
    return (
        f"{compared.strip()} Chance alone can explain the "
        f"difference{corrected}.{_if_chosen(selection)}{rest}"
    )


def _comparison(found: ExpectedPerformance) -> str:
    """Accuracy on the labeled answers, estimate and truth, and the rate that differs most."""
    if not found.checked:
        return ""
    worst = max(found.checked, key=_surprise)
    shown = (
        [found.checked[0]]
        if worst is found.checked[0] or not worst.contradicted
        else [found.checked[0], worst]
    )
    which = "audited" if found.audit else "labeled"
    parts = [
        f"{f'the {each.name} of {each.of}' if each.of else 'accuracy'} was expected to be "
        f"{percent(each.expected.value)} and is {percent(each.shown)}"
        for each in shown
    ]
    return f" In the {found.labels:,} {which} answers, {'; '.join(parts)}."


def _surprise(rate: ComparedRate) -> float:
    away = abs(rate.shown - rate.expected.value)
    return (
        away / max(rate.expected.deviation, 1e-9)
        if rate.contradicted and math.isfinite(away)
        else 0.0
    )


def _if_chosen(selection: LabelSelection) -> str:
    if selection.audit_decides or selection.coverage >= COMPLETE:
        return ""
    return " This assumes that the labels were not chosen by whether the answer was right."


def _correction_words(found: ExpectedPerformance, selection: LabelSelection) -> str:
    corrected = found.corrected
    if corrected is None:
        return ""
    fair = (
        ""
        if selection.audit_decides or selection.coverage >= COMPLETE
        else ", if these are a fair sample,"
    )
    share = percent(corrected.accuracy.value)
    if found.labels == corrected.answers:  # nothing is left to estimate
        return f"By the labels, which every answer has, it was right in {share}."
    return (
        f"Corrected by {counted(corrected.labels, 'label')}{fair} it is right in {share} "
        f"({_interval(corrected.accuracy)})."
    )


def _interval(rate: RateEstimate) -> str:
    return f"95 % interval {percent(rate.lower)} to {percent(rate.upper)}"
