"""Temperature and the other remedies: SciPy's optimum, and the choice among them by simulation."""

import math
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logsumexp
from scipy.special import softmax as scipy_softmax

from calibration.calibrators.affine import RIDGE
from calibration.calibrators.remedies import (
    CASE_MIX,
    REMEDIES,
    TEMPERATURE,
    TEMPERATURE_BIAS,
    VECTOR,
    Remedy,
    choose,
)
from calibration.calibrators.temperature import (
    apply_temperature,
    at_bound,
    fit_temperature,
    highest_temperature,
    softmax,
)
from calibration.measures.metrics import nll

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


def drawn(seed: int, weight: float, bias: list[float], *, n: int = 312) -> Answers:
    """Logits (n, K) as served, and labels drawn from softmax(weight * logits + bias)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, len(bias)))
    truth = softmax(weight * logits + np.array(bias))
    return logits, (truth.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


def scipy_optimum(
    remedy: Remedy, logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Probabilities of the same objective, minimized by quasi-Newton without our derivatives."""
    k, spread = logits.shape[1], (logits - logits.mean(axis=1, keepdims=True)).std()
    start = np.repeat([spread / fit_temperature(logits, labels), 0.0], k)

    def scaled(theta: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        weight, bias = np.split(start + remedy.basis(k) @ theta, 2)
        return np.asarray(logits / spread * weight + bias)

    def loss(theta: npt.NDArray[np.float64]) -> float:
        log_p = log_softmax(scaled(theta), axis=1)
        return float(-log_p[np.arange(len(labels)), labels].mean() + RIDGE / 2 * (theta**2).sum())

    nothing = np.zeros(remedy.basis(k).shape[1])
    return softmax(scaled(minimize(loss, nothing, options={"gtol": 1e-9, "maxiter": 500}).x))


@pytest.mark.parametrize("remedy", [TEMPERATURE_BIAS, VECTOR], ids=lambda each: each.name)
@pytest.mark.parametrize("bias", [[0.7, -0.7], [0.8, -0.8, 0.0], [0.2, 1.1, -0.4, -0.9]], ids=len)
def test_a_fit_finds_scipys_optimum(remedy: Remedy, bias: list[float]) -> None:
    answers = drawn(1, 0.6, bias, n=600)
    expected = scipy_optimum(remedy, *answers)
    fitted = remedy.fit(*answers)
    np.testing.assert_allclose(fitted(answers[0]), expected, atol=2e-5)
    assert sum(fitted.bias) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 3000.0])
def test_a_fit_stays_finite_on_answers_that_are_all_right(scale: float) -> None:
    logits, _ = drawn(4, 1.0, [0.0] * 4, n=200)
    fitted = VECTOR.fit(scale * logits, logits.argmax(axis=1))
    assert np.isfinite([*fitted.weight, *fitted.bias]).all()
    assert nll(fitted(scale * logits), logits.argmax(axis=1)) < 0.02


def test_a_weight_counts_an_answer_as_often_as_it_says() -> None:
    logits, labels = drawn(2, 0.6, [0.5, -0.5], n=100)
    times = np.random.default_rng(2).integers(1, 4, 100)
    weighted = TEMPERATURE_BIAS.fit(logits, labels, weights=times)
    repeated = TEMPERATURE_BIAS.fit(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    inside = [[0.3, -0.4]]
    # logits are scaled by another spread
    np.testing.assert_allclose(weighted(inside), repeated(inside), atol=0.01)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, np.nan], [1.0, -1.0]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be positive and finite"):
        CASE_MIX.fit([[0.0, 1.0], [1.0, 0.0]], [0, 1], weights=weights)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weight", "bias", "expected", "least"),
    [
        (1.0, [0.0, 0.0], None, 9),  # nothing to repair: of 10, at most a tenth finds something
        (0.5, [0.0, 0.0, 0.0], "temperature", 8),
        (1.0, [1.2, -1.2], "case_mix", 8),
        (0.5, [1.0, -1.0], "temperature_bias", 8),
    ],
)
def test_the_choice_finds_what_is_wrong(
    weight: float, bias: list[float], expected: str | None, least: int
) -> None:
    found = Counter(
        choose(*drawn(seed, weight, bias), allow_label_changes=True).chosen for seed in range(10)
    )
    assert found[expected] >= least, found


@pytest.mark.slow
def test_without_permission_the_predicted_class_stays_and_the_better_remedy_is_named() -> None:
    answers = drawn(3, 0.4, [1.5, -1.5], n=600)
    careful, free = choose(*answers), choose(*answers, allow_label_changes=True)
    assert careful.chosen in {"temperature", None}
    assert careful.better == free.chosen == "temperature_bias"
    assert free.better is None


def test_what_does_not_apply_is_left_out_with_its_reason() -> None:
    answers = drawn(4, 0.5, [1.0, -1.0])
    heard = list[tuple[int, int]]()
    choice = choose(
        *answers,
        allow_label_changes=True,
        exclude={CASE_MIX.name: "no"},
        compared=lambda done, total: heard.append((done, total)),
    )
    assert heard == [(number, len(REMEDIES)) for number in range(len(REMEDIES))]
    assert {trial.name: trial.excluded for trial in choice.trials}[CASE_MIX.name] == "no"
    assert choice.chosen == TEMPERATURE_BIAS.name


def test_a_class_with_few_labels_gets_no_bias() -> None:
    logits, labels = drawn(5, 0.5, [0.0, 0.0, -9.0], n=400)
    choice = choose(logits, labels, allow_label_changes=True)
    reasons = {trial.name: trial.excluded or "" for trial in choice.trials}
    assert all(
        "the rarest class has" in reasons[name]
        for name in REMEDIES
        if not REMEDIES[name].keeps_argmax
    )
    assert choice.chosen == TEMPERATURE.name


def test_labels_that_are_all_right_leave_the_range_of_temperatures() -> None:
    logits = np.random.default_rng(6).normal(0, 3, (200, 2))
    choice = choose(logits, logits.argmax(axis=1))
    assert choice.chosen is None
    assert "leaves the range of temperatures" in (choice.trials[0].excluded or "")


@pytest.mark.slow
def test_patients_are_kept_together() -> None:
    """Every answer of a patient is a copy: folds that divide patients promise too much."""
    logits, labels = drawn(7, 0.7, [0.0, 0.0, 0.0], n=60)
    copies = (np.repeat(logits, 10, axis=0), np.repeat(labels, 10))
    patients = np.repeat(np.arange(60), 10)
    alone, together = choose(*copies), choose(*copies, groups=patients)
    assert together.trials[0].standard_error > 2 * alone.trials[0].standard_error
    with pytest.raises(ValueError, match="at least 5 answers or groups; got 3"):
        choose(*copies, groups=np.arange(600) % 3)
