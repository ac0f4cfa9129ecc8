"""E-values, windows and prices keep what they promise."""

import itertools
import math

import numpy as np
import pytest

from calibration.diagnosis.answers import BEGIN, BLOCKS, END, PRIOR, blocks_of, window_sums
from calibration.diagnosis.evidence import (
    POSITIONS,
    histogram,
    in_cells,
    log_e_values,
    logit,
    sigmoid,
    tolerance,
)
from calibration.diagnosis.groups import price_of_set
from calibration.diagnosis.search import log_tail


@pytest.mark.parametrize("edge", [-1, 0, 1])
def test_e_values_have_a_mean_of_at_most_one_within_the_tolerance(edge: int) -> None:
    wrong, right = np.split(np.exp(log_e_values(tolerant=True)), 2)
    p = sigmoid(POSITIONS + edge * tolerance(POSITIONS))[:, None]
    assert (p * right + (1 - p) * wrong).max() < 1 + 1e-9


def test_histograms_keep_weight_and_mean_logit() -> None:
    rng = np.random.default_rng(0)
    z, right, weight = logit(rng.random(500)), rng.random(500) < 0.5, rng.random(500)
    sums = histogram(np.arange(500) % 3, 3, in_cells(z, right, weight))
    assert sums.sum() == pytest.approx(weight.sum())
    mean = (sums.sum(axis=0).reshape(2, -1).sum(axis=0) @ POSITIONS) / weight.sum()
    assert mean == pytest.approx((weight @ z) / weight.sum(), abs=1e-3)


def test_priors_of_windows_sum_to_one() -> None:
    assert np.exp(PRIOR).sum() == pytest.approx(1)


def test_prices_of_sets_are_a_prior() -> None:
    sizes = range(1, 8)
    sets = [len(each) for size in sizes for each in itertools.combinations(range(7), size)]
    assert sum(math.exp(-price_of_set(size, 7)) for size in sets) <= 1


def test_window_sums_beside_a_loop() -> None:
    values = np.random.default_rng(0).normal(size=(2, BLOCKS, 3))
    sums = window_sums(values)
    for place in (0, 17, 200):
        assert sums[:, place] == pytest.approx(values[:, BEGIN[place] : END[place]].sum(axis=1))


def test_the_newest_labels_have_blocks_of_their_own() -> None:
    block = blocks_of(1000)
    assert (np.diff(block) >= 0).all()
    assert block[-1] == BLOCKS - 1
    assert (block == BLOCKS - 1).sum() < 10


def exact(p: np.ndarray, hits: int) -> float:
    ways = np.array([1.0])
    for each in p:
        ways = np.convolve(ways, [1 - each, each])
    return math.log(ways[hits:].sum())


@pytest.mark.parametrize(
    ("n", "low", "high", "hits"),
    [(100, 0.02, 0.06, 15), (36, 0.003, 0.01, 4), (900, 0.05, 0.2, 150), (10, 0.01, 0.02, 2)],
)
def test_within_two_percent_of_the_exact_tail(n: int, low: float, high: float, hits: int) -> None:
    p = np.random.default_rng(0).uniform(low, high, n)
    assert log_tail(np.ones(n), p, hits) == pytest.approx(exact(p, hits), abs=0.02)


def test_all_trials_hit() -> None:
    assert log_tail(np.array([5.0]), np.array([0.1]), 5) == pytest.approx(
        5 * math.log(0.1), abs=0.1
    )


def test_far_beyond_rounding() -> None:
    assert log_tail(np.array([400.0]), np.array([0.01]), 200) < -600
