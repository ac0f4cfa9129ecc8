"""What labeled predictions show: how calibrated they are, and what a calibrator would do.

No model is needed. What a calibrator promises is measured on rows that it has not seen
(`calibration.calibrators.honest_fit`).
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, FloatArray
from calibration.calibrators.affine import Affine
from calibration.calibrators.honest_fit import HonestFit, OneLabel, TooFewRows, fit_honestly
from calibration.calibrators.portable import CONFIDENCE_CLASSES, PortableCalibrator, Subject
from calibration.cross_fitting import Groups, part_of
from calibration.intervals.clusters import chance
from calibration.measured import (
    Measured,
    Standing,
    measure_confidence,
    measure_probabilities,
    standing_of,
)
from calibration.measures.confusion import class_rates, confusion_matrix
from calibration.measures.metrics import Interval, smallest_probability, top_label

Rows = slice | npt.NDArray[Any]
_ALIKE = "all answers are right, or all are wrong, so nothing tells those apart that are not"


@dataclass(frozen=True)
class ClassFigures:
    """One class. A figure without such rows is NaN.

    Attributes:
        labels: rows whose true class it is.
        answers: rows whose predicted class it is.
        sensitivity: share of its rows that are predicted as it; `specificity`: share of the others
            that are not.
        gap: mean confidence minus accuracy of the answers that name it, with a 95 % interval.
    """

    name: str
    labels: int
    answers: int
    sensitivity: float
    specificity: float
    gap: float
    gap_interval: Interval


_Figures = tuple[Measured, tuple[ClassFigures, ...]]


@dataclass(frozen=True)
class Effect:
    """What the calibrator does on the rows that judge it, which it has not seen.

    Attributes:
        fit: the calibrator's origin.
        before, after: these rows as given, and calibrated.
        classes_before, classes_after: by class; empty if only a confidence is known.
        changed: rows whose predicted class changes.
    """

    fit: HonestFit
    before: Measured
    after: Measured
    classes_before: tuple[ClassFigures, ...]
    classes_after: tuple[ClassFigures, ...]
    changed: int


@dataclass(frozen=True)
class Examination:
    """What labeled predictions show.

    Attributes:
        of: whether all class probabilities are known, or only the confidence of the predicted
            class.
        groups: how many patients or the like; None if every row stands alone.
        given: all rows, as given.
        classes: by class; empty if only a confidence is known.
        fit: the comparison of remedies; None if the rows are too few.
        effect: what the calibrator does; None if the predictions are left alone.
        refused: a clause that says why no calibrator was fitted; None if one was sought.
        calibrator: the one to take away; it changes nothing if the predictions are left alone.
    """

    of: Subject
    groups: int | None
    standing: Standing
    given: Measured
    classes: tuple[ClassFigures, ...]
    fit: HonestFit | None
    effect: Effect | None
    refused: str | None
    calibrator: PortableCalibrator


def examine(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    classes: Sequence[str],
    groups: npt.ArrayLike | None = None,
    allow_label_changes: bool = False,
    judging: npt.ArrayLike | None = None,
    seed: int = 0,
    bin_count: int = BIN_COUNT,
) -> Examination:
    """Examine class probabilities (N, K), each row summing to 1 within 0.01, of labels in 0..K-1.

    Rows `judging` (N,) bool are examined, and judge a calibrator that is fitted on the others; if
    it is None, all are examined, and `seed` splits fitting from judging rows. Groups (N,) stay
    together. ValueError without rows, for shapes that do not match, and for rows that are no
    probabilities.

    >>> found = examine([[0.1, 0.9]] * 10, [1] * 10, classes=("no", "yes"))
    >>> found.standing.value, found.refused
    ('too_few_rows', 'a calibrator needs 100 labeled rows; there are 10 rows')
    """
    p, y, names = np.asarray(probabilities, dtype=np.float64), np.asarray(labels), tuple(classes)
    smallest = smallest_probability(p)

    def measured(p: FloatArray, rows: Rows, units: Groups) -> _Figures:
        found = measure_probabilities(p, y[rows], units, bin_count=bin_count, smallest=smallest)
        return found, class_figures(p, y[rows], names, units)

    alone = PortableCalibrator(Affine.identity(len(names)), names, smallest)
    fitting = {"allow_label_changes": allow_label_changes, "seed": seed}
    return _examine(alone, p, y, measured, groups=groups, judging=judging, **fitting)


def examine_confidence(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    judging: npt.ArrayLike | None = None,
    seed: int = 0,
    bin_count: int = BIN_COUNT,
) -> Examination:
    """Examine confidences (N,) in [0, 1] and whether the answers were right (N,).

    The calibrator then takes a confidence and returns the probability that the answer is right. It
    never changes an answer. Raises ValueError as `examine`.
    """
    p, c = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)

    def measured(p: FloatArray, rows: Rows, units: Groups) -> _Figures:
        return measure_confidence(p[:, 1], c[rows], units, bin_count=bin_count), ()

    smallest = smallest_probability(p)
    alone = PortableCalibrator(Affine.identity(2), CONFIDENCE_CLASSES, smallest, "confidence")
    both, fitting = np.stack([1 - p, p], axis=1), {"allow_label_changes": True, "seed": seed}
    labels = c.astype(np.int64)
    return _examine(alone, both, labels, measured, groups=groups, judging=judging, **fitting)


def _examine(
    calibrator: PortableCalibrator,
    p: FloatArray,
    labels: npt.NDArray[np.integer],
    measured: Callable[[FloatArray, Rows, Groups], _Figures],
    *,
    groups: npt.ArrayLike | None,
    judging: npt.ArrayLike | None,
    **fitting: Any,
) -> Examination:
    """The outcome, with `calibrator`, which changes nothing, if no fit improves probabilities p.

    `measured`: the figures of probabilities (M, K) of some rows, with their groups.
    """
    fit = refused = effect = None
    try:
        fit = fit_honestly(
            np.maximum(p, calibrator.smallest), labels, groups=groups, judging=judging, **fitting
        )
    except TooFewRows as few:
        alike = isinstance(few, OneLabel) and calibrator.of == "confidence"
        refused = _ALIKE if alike else str(few)
    rows = slice(None) if judging is None else np.asarray(judging, dtype=bool)
    given, classes = measured(p[rows], rows, part_of(groups, rows))
    if fit is not None and fit.affine is not None:
        both, units = (p[fit.rows], fit.probabilities), part_of(groups, fit.rows)
        (before, first), (after, last) = (measured(each, fit.rows, units) for each in both)
        changed = np.not_equal(*(top_label(each)[1] for each in both)).sum() if last else 0
        effect = Effect(fit, before, after, first, last, int(changed))
        calibrator = dataclasses.replace(calibrator, affine=fit.affine, about=_about(effect))
    count = None if groups is None else len(np.unique(np.asarray(groups)[rows]))
    standing = standing_of(given, count, calibrated=effect is not None)
    return Examination(
        calibrator.of, count, standing, given, classes, fit, effect, refused, calibrator
    )


def class_figures(
    probabilities: FloatArray,
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
    groups: npt.ArrayLike | None,
) -> tuple[ClassFigures, ...]:
    """Return the figures of each class, from probabilities (N, K) and labels (N,)."""
    confidence, predicted = top_label(probabilities)
    confusion = confusion_matrix(probabilities, labels)
    rates = class_rates(confusion)
    found = []
    for number, name in enumerate(names):
        said = predicted == number
        part = None if groups is None else np.asarray(groups)[said]
        gap, interval = float("nan"), Interval(float("nan"), float("nan"))
        if said.any():
            right = labels[said] == number
            gap = float((confidence[said] - right).mean())
            interval = chance(confidence[said], right, part).gap
        counts = int(confusion[number].sum()), int(said.sum())
        found.append(
            ClassFigures(
                name,
                *counts,
                float(rates.sensitivity[number]),
                float(rates.specificity[number]),
                gap,
                interval,
            )
        )
    return tuple(found)


def _about(effect: Effect) -> dict[str, object]:
    before, after = effect.before.measures, effect.after.measures
    return {
        "fitted_on_rows": effect.fit.fitted_on,
        "judged": effect.fit.judged,
        "judged_rows": after.n,
        "ece_before": round(before.ece, 4),
        "ece_after": round(after.ece, 4),
        "ece_floor": round(after.noise_floor, 4),
    }
