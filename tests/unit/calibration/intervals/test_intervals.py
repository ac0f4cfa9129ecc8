"""Intervals and floors hold what they promise: by simulation, by patient, and at every look."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, special, stats

from calibration.bins import BinSums, bin_index
from calibration.intervals.clusters import chance
from calibration.intervals.confidence_sequence import (
    accuracy_sequence,
    gap_sequences,
    share_interval,
)
from calibration.measures import metrics
from calibration.measures.metrics import ece, ece_interval, noise_floor, signed_gap_interval

Truth = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

TRUTHS: dict[str, Truth] = {
    "calibrated": lambda p: p,
    "slightly-overconfident": lambda p: p - 0.03,
    "overconfident": lambda p: p - 0.12,
    "underconfident": lambda p: p + 0.2 * (1 - p),
    "bent": lambda p: p - 0.1 * np.sin(8 * p),
}


def simulate(
    truth: Truth, *, n: int = 1000, repeats: int, seed: int = 0
) -> tuple[list[BinSums], float]:
    """Sums of repeated outcomes on one set of confidences, and their true ECE."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.4, 1.0, n)
    chance = np.clip(truth(p), 0, 1)
    ece = float(np.abs(np.bincount(bin_index(p), chance - p)).sum() / n)
    return [BinSums.from_predictions(p, rng.random(n) < chance) for _ in range(repeats)], ece


def test_noise_floor_is_the_mean_ece_of_a_calibrated_model() -> None:
    trials, _ = simulate(TRUTHS["calibrated"], repeats=2000)
    seen = np.array([metrics.ece(sums) for sums in trials])
    error = seen.std() / math.sqrt(len(seen))
    # 0.5 % for the normal limit of binomials; a constant of 0.75 for sqrt(2/pi) would be off by 6
    # %.
    assert seen.mean() == pytest.approx(metrics.noise_floor(trials[0]), abs=4 * error, rel=0.005)


def test_ece_z_is_standardized_on_a_calibrated_model() -> None:
    trials, _ = simulate(TRUTHS["calibrated"], repeats=2000, seed=1)
    z = np.array([metrics.ece_z(sums) for sums in trials])
    assert z.mean() == pytest.approx(0, abs=4 / math.sqrt(len(z)))
    assert z.std() == pytest.approx(1, abs=4 / math.sqrt(2 * len(z)))


@pytest.mark.parametrize("n", [30, 300, 3000])
@pytest.mark.parametrize("name", TRUTHS)
def test_the_ece_interval_covers_the_true_value(name: str, n: int) -> None:
    """It promises 95 % at least, from thirty answers on; measured .959 to 1."""
    trials, truth = simulate(TRUTHS[name], n=n, repeats=400, seed=2)
    intervals = [metrics.ece_interval(sums) for sums in trials]
    assert (
        np.mean([lower <= truth + 1e-12 and truth <= upper for lower, upper in intervals]) >= 0.95
    )


@pytest.mark.slow
def test_the_signed_gap_interval_covers_as_often_as_it_says() -> None:
    for name in TRUTHS:
        rng, covered = np.random.default_rng(4), []
        for _ in range(1000):
            # drawn again each time: the interval is about the population
            p = rng.uniform(0.4, 1.0, 500)
            sums = BinSums.from_predictions(p, rng.random(500) < np.clip(TRUTHS[name](p), 0, 1))
            lower, upper = metrics.signed_gap_interval(sums)
            covered.append(lower <= POPULATION_GAP[name] <= upper)
        assert np.mean(covered) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 1000))


SURE: dict[str, Truth] = {
    "calibrated": lambda p: p,
    "wrong in half": lambda p: np.full_like(p, 0.5),
    "wrong in a tenth": lambda p: np.full_like(p, 0.9),
    "mostly wrong": lambda p: np.full_like(p, 0.05),
}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 20, 50])
@pytest.mark.parametrize("name", SURE)
def test_a_few_sure_answers_leave_room_for_the_truth(name: str, n: int) -> None:
    """Without added answers, 48 to 68 of 100 intervals of up to ten answers held it."""
    rng, gap, ece = np.random.default_rng(8), [], []
    everywhere = 1 - rng.beta(0.3, 30, 100_000)
    truth = float((everywhere - SURE[name](everywhere)).mean())
    error = float(
        np.abs(np.bincount(bin_index(everywhere), everywhere - SURE[name](everywhere))).sum()
        / 100_000
    )
    for _ in range(400):
        p = 1 - rng.beta(0.3, 30, n)
        sums = BinSums.from_predictions(p, rng.random(n) < SURE[name](p))
        for held, interval, value in (
            (gap, metrics.signed_gap_interval(sums), truth),
            (ece, metrics.ece_interval(sums), error),
        ):
            held.append(interval.lower - 1e-12 <= value <= interval.upper + 1e-12)
    # with one answer, wrong in a tenth, it can only be .9, less what 400 samples vary
    assert np.mean(gap) >= 0.85
    assert np.mean(ece) >= 0.85


_GRID = (np.arange(100_000) + 0.5) / 100_000 * 0.6 + 0.4
POPULATION_GAP = {
    name: float((_GRID - np.clip(truth(_GRID), 0, 1)).mean()) for name, truth in TRUTHS.items()
}


def test_debiased_rms_squared_is_unbiased_on_a_miscalibrated_model() -> None:
    trials, _ = simulate(TRUTHS["overconfident"], repeats=1000, seed=6)
    squares = np.array([metrics.debiased_rms(sums) ** 2 for sums in trials])
    assert squares.mean() == pytest.approx(0.12**2, abs=4 * squares.std() / math.sqrt(len(squares)))


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


def test_errors_of_a_patient_in_two_bins_add_up() -> None:
    """Of 40 patients with images at .9 and at .3, half are right in one, half in the other."""
    right = np.tile([True, False], 40) == np.repeat(np.arange(40) < 20, 2)
    found = chance(np.tile([0.9, 0.3], 40), right, np.repeat(np.arange(40), 2)).ece
    assert found.upper == pytest.approx(0.3 + 1.959964 * math.sqrt(40 * 40 / 39) / 80, abs=1e-6)


def test_no_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        chance([], [])


_BETS = np.geomspace(0.005, 0.9, 12)


def test_an_accuracy_sequence_is_where_the_beta_binomial_ratio_reaches_one_over_alpha() -> None:
    for n, correct, alpha in (
        (10, 7, 0.05),
        (524, 488, 0.0125),
        (20_000, 12_345, 0.001),
        (300, 299, 0.05),
    ):

        def excess(p: float, n: int = n, correct: int = correct, alpha: float = alpha) -> float:
            mixture = special.betaln(correct + 1, n - correct + 1)
            return float(
                mixture
                - special.xlogy(correct, p)
                - special.xlog1py(n - correct, -p)
                + math.log(alpha)
            )

        lower, upper = accuracy_sequence(n, correct, alpha=alpha)
        assert lower == pytest.approx(optimize.brentq(excess, 1e-12, correct / n), abs=1e-6)
        assert upper == pytest.approx(optimize.brentq(excess, correct / n, 1 - 1e-12), abs=1e-6)


def test_a_share_interval_is_clopper_and_pearsons() -> None:
    for n, correct in ((10, 7), (524, 488), (5_000, 4_999)):
        lower, upper = share_interval(n, correct)
        assert lower == pytest.approx(stats.beta.ppf(0.025, correct, n - correct + 1), abs=1e-9)
        assert upper == pytest.approx(stats.beta.ppf(0.975, correct + 1, n - correct), abs=1e-9)
    assert share_interval(0, 0) == (0, 1)


def test_a_gap_sequence_is_where_the_capital_of_the_bets_reaches_one_over_alpha() -> None:
    rng = np.random.default_rng(3)
    confidence = rng.beta(6, 1.3, 2_000)
    gaps = confidence - (rng.random(2_000) < confidence - 0.1)

    def capital(mean: float) -> float:
        bets = []
        for side in (1, -1):
            distance = side * (gaps - mean) / max(1.0, 1 + side * mean)
            bets += [
                math.exp(float((b * distance + (b + math.log1p(-b)) * distance**2).sum()))
                for b in _BETS
            ]
        return sum(bets) / len(bets)

    (ends,) = gap_sequences(len(gaps), np.array([gaps.sum()]), np.array([(gaps**2).sum()]))
    for end in ends:
        assert capital(end) == pytest.approx(20, rel=1e-3)


def test_nothing_is_known_without_labels_and_wrong_counts_are_refused() -> None:
    assert accuracy_sequence(0, 0) == (0, 1)
    assert gap_sequences(0, np.array([0]), np.array([0])) == [(-1, 1)]
    assert accuracy_sequence(1_000, 1_000).upper == 1
    assert gap_sequences(50, np.array([50]), np.array([50]))[0].upper == 1
    for call in (
        lambda: accuracy_sequence(3, 4),
        lambda: accuracy_sequence(3, 2, alpha=0),
        lambda: share_interval(3, 4),
    ):
        with pytest.raises(ValueError, match=r"must be in|n must be"):
            call()
