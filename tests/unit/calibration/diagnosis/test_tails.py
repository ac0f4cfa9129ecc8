"""Saddlepoint tails beside the exact ones of sums of independent trials."""

import math

import numpy as np
import pytest

from calibration.diagnosis.search import log_tail


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
