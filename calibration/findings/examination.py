"""What labeled probabilities of findings show, one finding at a time, and what calibrators do.

A calibrator is judged by cross-fitting: the probabilities of each fifth of the rows come from one
that was fitted on the other four. It is kept if it improves them by a standard error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, BinSums, FloatArray, equal_mass_sums
from calibration.calibrators.affine import NONE, Affine
from calibration.calibrators.honest_fit import FEWEST_GROUPS, Judged
from calibration.calibrators.portable import PortableCalibrator
from calibration.calibrators.remedies import MARGIN, fall
from calibration.calibrators.temperature import logit
from calibration.cross_fitting import Groups, Rows, Values, cross_fit, fold_numbers, part_of
from calibration.findings.calibrator import (
    FEWEST_POSITIVES,
    UNFITTED,
    fit_finding,
)
from calibration.findings.measures import FindingMeasures, known_answers, macro, measure_finding
from calibration.findings.thresholds import (
    OperatingPoint,
    ThresholdKind,
    choose_threshold,
    operating_point,
)
from calibration.measured import Standing, measure_confidence, standing_of
from calibration.measures.metrics import Interval, log_loss, smallest_probability
from calibration.wording import counted

Rule = tuple[ThresholdKind, float | None]
HALF: Rule = ("half", None)
_AT_BOUND = "its labels do not determine a temperature"
FEWEST_EXPECTED = 10  # positives, seen or expected, below which nothing can be said


@dataclass(frozen=True)
class FindingEffect:
    """What a calibrator does on rows that it has not seen.

    Attributes:
        measures: of the calibrated probabilities.
        improvement: fall of the mean negative log-likelihood, in nats.
        standard_error: of it, by group.
        judged: whether rows judge a calibrator of the other folds, or of the rows to fit on.
    """

    measures: FindingMeasures
    improvement: float
    standard_error: float
    judged: Judged = "cross-fitted"


@dataclass(frozen=True)
class FindingExamination:
    """One finding, on the rows whose label is known.

    Attributes:
        standing: the verdict: `overconfident` are probabilities that are too high.
        sums: of bins that hold equally many rows; the confidence is the probability of presence.
        gap: 95 % interval of mean probability minus share present, by group.
        calibrator: `UNFITTED` if its probabilities are better left alone.
        effect: what it does; None without one.
        refused: a clause that says why no calibrator was fitted; None if one was sought.
        rule: how the threshold was to be chosen.
        point: what the threshold gives, on calibrated probabilities if there is a calibrator; None
            if the labels do not determine it.
    """

    name: str
    standing: Standing
    given: FindingMeasures
    sums: BinSums
    gap: Interval
    calibrator: Affine
    effect: FindingEffect | None
    refused: str | None
    rule: Rule
    point: OperatingPoint | None


@dataclass(frozen=True)
class FindingsExamination:
    """Several findings, and their means."""

    findings: tuple[FindingExamination, ...]
    groups: int | None
    calibrator: PortableCalibrator

    @property
    def given(self) -> dict[str, float | None]:
        """Means over findings, as given."""
        return macro([each.given for each in self.findings])

    @property
    def calibrated(self) -> dict[str, float | None]:
        """Means over findings, calibrated where there is a calibrator."""
        return macro(
            [each.effect.measures if each.effect else each.given for each in self.findings]
        )


def examine_findings(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    names: Sequence[str],
    groups: npt.ArrayLike | None = None,
    rule: Rule = HALF,
    bin_count: int = BIN_COUNT,
    judging: npt.ArrayLike | None = None,
    seed: int = 0,
) -> FindingsExamination:
    """Examine independent probabilities (N, K) of K findings, of labels (N, K): 1, 0, or NaN for
    unknown.

    `rule` says how thresholds are chosen. `judging` is as in
    `calibration.examination.examine`. ValueError for shapes that do not match, or values that
    are no probabilities or labels.

    >>> found = examine_findings([[0.2], [0.9]], [[0], [1]], names=["Edema"]).findings[0]
    >>> found.standing.value, found.refused
    ('too_few_rows', 'there is 1 positive and 1 negative; a calibrator needs 20 of each')
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if p.shape != y.shape or p.ndim != 2 or p.shape[1] != len(names):
        raise ValueError(
            f"probabilities {p.shape} and labels {y.shape} must both be (N, {len(names)})"
        )
    units = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    judged = None if judging is None else np.asarray(judging, dtype=bool)
    smallest = smallest_probability(p)
    settings = _Settings(rule, smallest, bin_count, seed)
    found = tuple(
        _examine(name, p[:, k], y[:, k], units, judged, settings) for k, name in enumerate(names)
    )
    examined = units if judged is None else part_of(units, judged)
    count = None if examined is None else len(np.unique(examined))
    return FindingsExamination(found, count, _portable(found, smallest))


class _Settings(NamedTuple):
    rule: Rule
    smallest: float
    bin_count: int
    seed: int


def _examine(
    name: str,
    p: FloatArray,
    y: FloatArray,
    units: Groups,
    judged: Rows | None,
    settings: _Settings,
) -> FindingExamination:
    p, present, known = known_answers(p, y)
    units, judged = part_of(units, known), None if judged is None else judged[known]
    calibrator, effect, refused = _fit(p, present, units, judged, settings)
    rows = slice(None) if judged is None else judged
    p, present, units = p[rows], present[rows], part_of(units, rows)
    calibrated = calibrator(logit(p, smallest=settings.smallest)) if effect else p
    kind, value = settings.rule
    threshold = choose_threshold(calibrated, present, kind=kind, value=value)
    point = None
    if threshold is not None:
        point = operating_point(calibrated, present, threshold, groups=units)
    standing, gap = _standing(p, present, units, calibrated=effect is not None)
    return FindingExamination(
        name,
        standing,
        measure_finding(p, present, bin_count=settings.bin_count),
        equal_mass_sums(p, present, settings.bin_count),
        gap,
        calibrator,
        effect,
        refused,
        settings.rule,
        point,
    )


def _standing(
    p: FloatArray, present: Rows, units: Groups, *, calibrated: bool
) -> tuple[Standing, Interval]:
    if not p.size:
        return Standing.TOO_FEW, Interval(float("nan"), float("nan"))
    measured = measure_confidence(p, present, units)
    count = None if units is None else len(np.unique(units))
    standing = standing_of(measured, count, calibrated=calibrated)
    few = max(present.sum(), p.sum()) < FEWEST_EXPECTED
    return Standing.TOO_FEW if few else standing, measured.chance.gap


def _fit(
    p: FloatArray, present: Rows, units: Groups, judged: Rows | None, settings: _Settings
) -> tuple[Affine, FindingEffect | None, str | None]:
    """The calibrator, what it does on unseen rows, and why none was fitted."""
    every = np.ones(len(p), dtype=bool)
    fitting, rows = (every, every) if judged is None else (~judged, judged)
    refused = _refusal(present[fitting], part_of(units, fitting))
    if refused is None and not rows.any():
        refused = "no row to judge it has a label"
    if refused is not None:
        return UNFITTED, None, refused
    smallest = settings.smallest
    z, y = logit(p, smallest=smallest), present.astype(np.float64)

    def calibrate(rows: Rows) -> Callable[[Values], Values]:
        fitted = fit_finding(z[rows], y[rows])
        return lambda p: fitted(logit(p, smallest=smallest)) if fitted.fitted else p

    if judged is None:
        unseen = cross_fit(calibrate, p, fold_numbers(present, units, seed=settings.seed))
    else:
        unseen = calibrate(fitting)(p[rows])
    before, after = (
        log_loss(np.stack([1 - each, each], axis=1), y[rows].astype(np.int64), smallest=smallest)
        for each in (p[rows], unseen)
    )
    improvement, error = fall(before, after, part_of(units, rows))
    fitted = fit_finding(z[fitting], y[fitting])
    if not fitted.fitted or not improvement > MARGIN * error:
        return UNFITTED, None, None if fitted.fitted else _AT_BOUND
    measures = measure_finding(unseen, y[rows], bin_count=settings.bin_count)
    kind: Judged = "cross-fitted" if judged is None else "held-out"
    return fitted, FindingEffect(measures, improvement, error, kind), None


def _refusal(present: Rows, units: Groups) -> str | None:
    positives = int(present.sum())
    negatives = len(present) - positives
    if min(positives, negatives) < FEWEST_POSITIVES:
        verb = "is" if positives == 1 else "are"
        return (
            f"there {verb} {counted(positives, 'positive')} and {counted(negatives, 'negative')}; "
            f"a calibrator needs {FEWEST_POSITIVES} of each"
        )
    groups = FEWEST_GROUPS if units is None else len(np.unique(units))
    if groups < FEWEST_GROUPS:
        return f"there are {counted(groups, 'group')}; a calibrator needs {FEWEST_GROUPS}"
    return None


def _portable(found: Sequence[FindingExamination], smallest: float) -> PortableCalibrator:
    fitted = [each.calibrator for each in found]
    return PortableCalibrator(
        Affine(
            tuple(each.weight[0] for each in fitted),
            tuple(each.bias[0] for each in fitted),
            "sigmoid",
            "finding" if any(each.fitted for each in fitted) else NONE,
        ),
        tuple(each.name for each in found),
        smallest,
        "findings",
    )
