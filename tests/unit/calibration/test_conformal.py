"""Prediction sets: coverage in simulation, and the exact quantile."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.conformal import conformal, prediction_sets


def draw(rng: np.random.Generator, n: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """A model whose labels come from a flatter distribution than its probabilities."""
    p = rng.dirichlet(np.full(4, 0.3), n)
    truth = np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True)
    return p, (truth.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "alpha"), [(19, 0.1), (50, 0.1), (200, 0.05), (100, 0.3)])
def test_coverage_is_what_was_promised_and_little_more(n: int, alpha: float) -> None:
    rng, covered = np.random.default_rng(n), []
    for _ in range(1500):
        p, y = draw(rng, n + 20)
        sets = prediction_sets(p[n:], conformal(p[:n], y[:n], alpha=alpha).threshold)
        covered.append(sets[np.arange(20), y[n:]].mean())
    error = 3 * np.std(covered) / np.sqrt(len(covered))
    assert 1 - alpha - error <= np.mean(covered) <= 1 - alpha + 1 / (n + 1) + error


@given(st.integers(1, 60), st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5, 0.9]))
def test_the_quantile_is_the_plain_one(n: int, alpha: float) -> None:
    p, y = draw(np.random.default_rng(n), n)
    found = conformal(p, y, alpha=alpha)
    scores = np.sort(1 - p[np.arange(n), y])
    rank = int(np.ceil((n + 1) * (1 - alpha) - 1e-9))  # of the score, from the smallest
    expected = 0.0 if rank > n else 1 - scores[rank - 1]
    assert found.threshold == pytest.approx(expected, abs=1e-15)
    assert found.coverage_reference >= 1 - alpha - 1e-12
    assert found.mean_set_size == prediction_sets(p, found.threshold).sum(axis=1).mean()


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan")])
def test_an_alpha_that_means_nothing_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        conformal([[0.5, 0.5]], [0], alpha=alpha)


def test_no_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        conformal(np.empty((0, 2)), np.empty(0, dtype=int))
