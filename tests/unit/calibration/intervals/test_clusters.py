"""Intervals by group: over many simulated sets of patients they hold what they promise."""

import numpy as np
import numpy.typing as npt
import pytest

from calibration.bins import BinSums
from calibration.intervals.clusters import chance
from calibration.measures.metrics import ece, ece_interval, noise_floor, signed_gap_interval

Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]


def patients(seed: int, *, count: int = 150, images: int = 8, over: float = 0.0) -> Answers:
    """Images of a patient are right or wrong together with a probability of .7."""
    rng = np.random.default_rng(seed)
    p = np.repeat(rng.uniform(0.55, 0.95, count), images)
    unit = np.repeat(np.arange(count), images)
    alone = rng.random(count * images)
    together = np.where(rng.random(count)[unit] < 0.7, rng.random(count)[unit], alone)
    return p, together < p - over, unit


def test_without_groups_they_are_those_of_the_sums() -> None:
    p, c, _ = patients(0)
    found, sums = chance(p, c), BinSums.from_predictions(p, c)
    assert found.floor == noise_floor(sums)
    assert found.ece == ece_interval(sums)
    assert found.gap == signed_gap_interval(sums)


def test_the_interval_of_the_gap_covers_it_by_patient_and_not_by_image() -> None:
    by_group = by_row = 0
    for seed in range(300):
        p, c, unit = patients(seed, over=0.1)
        grouped, plain = chance(p, c, unit).gap, chance(p, c).gap
        by_group += grouped.lower <= 0.1 <= grouped.upper
        by_row += plain.lower <= 0.1 <= plain.upper
    assert by_group >= 0.92 * 300
    assert by_row < 0.75 * 300


def test_a_calibrated_model_is_rarely_shown_to_be_off_by_patient_and_often_by_image() -> None:
    off_by_group = off_by_row = 0
    floors, errors = [], []
    for seed in range(300):
        p, c, unit = patients(seed)
        grouped = chance(p, c, unit)
        off_by_group += grouped.ece.lower > 0
        off_by_row += chance(p, c).ece.lower > 0
        floors.append(grouped.floor)
        errors.append(ece(BinSums.from_predictions(p, c)))
    assert off_by_group <= 0.05 * 300
    assert off_by_row > 0.3 * 300
    assert np.mean(floors) == pytest.approx(np.mean(errors), rel=0.15)


@pytest.mark.parametrize(("confidence", "lower"), [(1.0, 0.167), (0.99, 0.157)])
def test_images_of_one_patient_that_agree_prove_no_more_than_one(
    confidence: float, lower: float
) -> None:
    found = chance([confidence] * 8, [False] * 8, np.zeros(8))
    assert found.gap.lower == pytest.approx(lower, abs=2e-3)
    assert found.ece.lower == pytest.approx(lower, abs=2e-3)


def test_a_few_patients_whose_images_agree_hold_the_gap() -> None:
    rng, held = np.random.default_rng(7), 0
    unit = np.repeat(np.arange(5), 6)
    for _ in range(400):
        found = chance(1 - rng.beta(0.5, 40, 30), (rng.random(5) < 0.6)[unit], unit).gap
        held += found.lower <= 1 - 0.5 / 40.5 - 0.6 <= found.upper
    assert held >= 0.95 * 400  # .865 did without the added answers


def test_no_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        chance([], [])
