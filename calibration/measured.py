"""One set of labeled answers, measured: what `candor.measure` and every examination show."""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from calibration.bins import BIN_COUNT, BinSums, FloatArray
from calibration.intervals.clusters import Chance, chance, two_sided_p
from calibration.measures.metrics import top_label
from calibration.measures.summary import Measures

FEW = 50  # rows, or groups, below which the verdict is that nothing can be said
# of each of the two signs of miscalibration, so that both together err in 5 of 100 calibrated
# models
LEVEL = 0.025


class Standing(StrEnum):
    """What the labels show of the predictions as given."""

    TOO_FEW = "too_few_rows"
    OVERCONFIDENT = "overconfident"
    UNDERCONFIDENT = "underconfident"
    UNEVEN = "miscalibrated"  # too sure of some answers and not sure enough of others
    NOT_SHOWN = "no_miscalibration_shown"


@dataclass(frozen=True)
class Measured:
    """One set of answers, measured. `chance`: floor and intervals, by group if known."""

    measures: Measures
    sums: BinSums
    chance: Chance


def measure_probabilities(
    probabilities: FloatArray,
    labels: npt.NDArray[np.integer],
    groups: npt.ArrayLike | None = None,
    *,
    bin_count: int = BIN_COUNT,
    smallest: float | None = None,
) -> Measured:
    """Measure probabilities as `Measures.from_probabilities`; intervals and floor know groups.

    Raises ValueError without rows, and as there.
    """
    measures = Measures.from_probabilities(probabilities, labels, bin_count, smallest=smallest)
    confidence, predicted = top_label(probabilities)
    return _measured(measures, np.clip(confidence, 0, 1), predicted == labels, groups, bin_count)


def measure_confidence(
    confidence: FloatArray,
    correct: npt.NDArray[np.bool_],
    groups: npt.ArrayLike | None = None,
    *,
    bin_count: int = BIN_COUNT,
) -> Measured:
    """Measure confidences (N,) in [0, 1] of answers that were right or not (N,)."""
    sums = BinSums.from_predictions(confidence, correct, bin_count)
    return _measured(Measures.from_sums(sums), confidence, correct, groups, bin_count)


def standing_of(given: Measured, groups: int | None, *, calibrated: bool) -> Standing:
    """The verdict, by the mean gap, the ECE's lower bound, or a calibrator that helps.

    The gap must be too large for a calibrated model, and its interval must exclude 0: one wrong
    answer in a hundred of .999 is rare, but not as rare as its normal deviation says. Answers of 1
    have no deviation; the interval decides.
    """
    if min(given.sums.total, groups or given.sums.total) < FEW:
        return Standing.TOO_FEW
    gap, p_value = given.chance.gap, two_sided_p(given.chance.gap_z)
    if not p_value >= LEVEL and not gap.lower <= 0 <= gap.upper:
        return Standing.OVERCONFIDENT if given.measures.signed_gap > 0 else Standing.UNDERCONFIDENT
    return Standing.UNEVEN if given.chance.ece.lower > 0 or calibrated else Standing.NOT_SHOWN


def _measured(
    measures: Measures,
    confidence: FloatArray,
    correct: npt.NDArray[np.bool_],
    groups: npt.ArrayLike | None,
    bin_count: int,
) -> Measured:
    by_chance = chance(confidence, correct, groups, bin_count=bin_count)
    replaced = dataclasses.replace(
        measures,
        noise_floor=by_chance.floor,
        ece_lower=by_chance.ece.lower,
        ece_upper=by_chance.ece.upper,
        signed_gap_lower=by_chance.gap.lower,
        signed_gap_upper=by_chance.gap.upper,
    )
    sums = BinSums.from_predictions(confidence, correct, bin_count)
    return Measured(replaced, sums, by_chance)
