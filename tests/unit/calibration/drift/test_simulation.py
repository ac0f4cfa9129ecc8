"""Statistical promises of the measures, by simulation within its standard error."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from calibration.bins import BinSums, bin_index
from calibration.measures import metrics

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
