"""Temperature: scipy's optimum, and symmetries that make served probabilities enough."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.special import softmax as scipy_softmax

from calibration.calibrators.temperature import (
    apply_temperature,
    at_bound,
    fit_temperature,
    highest_temperature,
    softmax,
)

Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def answers_at(temperature: float, seed: int, *, n: int = 2000, classes: int = 4) -> Answers:
    """Logits, and labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2 * temperature, (n, classes))
    cumulative = scipy_softmax(logits / temperature, axis=1).cumsum(axis=1)
    return logits, (cumulative > rng.random((n, 1))).argmax(axis=1)


def scipy_temperature(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    def loss(log_t: float) -> float:
        scaled = logits / math.exp(log_t)
        return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels]).mean())

    found = minimize_scalar(
        loss, bounds=(math.log(0.05), math.log(20)), method="bounded", options={"xatol": 1e-10}
    )
    return math.exp(found.x)


def test_the_optimum_is_scipys() -> None:
    for true_temperature in [0.2, 0.7, 1.0, 2.5, 9.0]:
        for seed in range(3):
            answers = answers_at(true_temperature, seed)
            assert fit_temperature(*answers) == pytest.approx(scipy_temperature(*answers), rel=1e-6)


def test_the_logarithm_of_served_probabilities_is_as_good_as_logits() -> None:
    logits, labels = answers_at(3.0, 2)
    served = np.log(apply_temperature(logits, 1.7))
    assert 1.7 * fit_temperature(served, labels) == pytest.approx(
        fit_temperature(logits, labels), rel=1e-6
    )


def test_extreme_logits_have_a_temperature() -> None:
    """Margins of thousands make probabilities underflow; a wrong answer must still count."""
    logits = np.tile([3000.0, 0.0], (10, 1))
    assert fit_temperature(logits, [0] * 9 + [1]) == pytest.approx(3000 / math.log(9), rel=1e-6)


def test_labels_that_contradict_the_answers_end_at_a_bound() -> None:
    for scale in (0.5, 1.0, 300.0):
        logits = np.tile([scale, 0.0], (10, 1))
        highest = highest_temperature(logits)
        assert at_bound(fit_temperature(logits, [0] + [1] * 9), highest)


@pytest.mark.parametrize("count", [1, 10, 32, 1000])
def test_right_answers_alone_do_not_make_a_model_sure(count: int) -> None:
    """The likelihood would send T to its lower bound, and every confidence to 1."""
    logits = np.random.default_rng(count).normal(0, 1, (count, 3))
    logits[:, 0] = logits.max(axis=1) + 0.5
    labels = np.zeros(count, np.int64)
    temperature = fit_temperature(logits, labels)
    confidence = apply_temperature(logits, temperature).max(axis=1).mean()
    assert confidence == pytest.approx((count + 1) / (count + 2), abs=1e-5)
    assert fit_temperature(7 * logits, labels) == pytest.approx(7 * temperature, rel=1e-4)


def test_a_tie_is_no_right_answer() -> None:
    """All logits are the same, so the likelihood has a maximum at any T."""
    assert apply_temperature([[0.0, 0.0]], fit_temperature([[0.0, 0.0]], [0])).tolist() == [
        [0.5, 0.5]
    ]


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6), st.floats(0.05, 20))
def test_softmax_is_scipys_for_any_finite_logits(row: list[float], temperature: float) -> None:
    np.testing.assert_allclose(softmax(row), scipy_softmax(row), rtol=1e-12)
    scaled = apply_temperature([row], temperature)
    np.testing.assert_allclose(scaled, [scipy_softmax(np.array(row) / temperature)], rtol=1e-9)
    assert scaled[0, int(np.argmax(row))] == scaled.max()  # no label changes
