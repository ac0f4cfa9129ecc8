"""Prediction sets and the referral threshold: exact by plain searches, kept in simulation."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from calibration.calibrators.finding_answers import Question
from calibration.calibrators.subgroups import AnswerCalibrator, AnswerCalibrators
from calibration.calibrators.temperature import softmax
from calibration.conformal import conformal, finding_sets, prediction_sets
from calibration.threshold import referral_threshold


def draw(rng: np.random.Generator, n: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """A model whose labels come from a flatter distribution than its probabilities."""
    p = rng.dirichlet(np.full(4, 0.3), n)
    truth = np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True)
    return p, (truth.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


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


def findings(
    rng: np.random.Generator, n: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Probabilities of a finding in 2 to 15 % of the images, which are half too low."""
    present = rng.random(n) < rng.uniform(0.02, 0.15)
    logit = rng.normal(np.where(present, -1.0, -4.0), 1.3)
    return 1 / (1 + np.exp(-logit)), present


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.5, 0.9])
def test_each_answer_of_a_finding_is_missed_as_rarely_as_promised(threshold: float) -> None:
    rng = np.random.default_rng(7)
    missed: tuple[list[float], list[float]] = ([], [])
    for _ in range(300):
        p, present = findings(rng, 3000)
        found = finding_sets(p[:1500], present[:1500], present_from=threshold, alpha=0.1)
        if found is None:
            continue
        assert found.thresholds is not None
        sets = np.stack([1 - p[1500:], p[1500:]], axis=1) >= found.thresholds
        for label in (0, 1):
            of_label = present[1500:] == bool(label)
            missed[label].append((~sets[of_label, label]).mean() if of_label.any() else 0.0)
    for rates in missed:
        assert np.mean(rates) <= 0.1 + 3 * np.std(rates) / np.sqrt(len(rates))


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([0.05, 0.1, 0.3]))
def test_a_set_of_one_is_the_answer_by_the_threshold_and_none_is_empty(
    seed: int, threshold: float, alpha: float
) -> None:
    p, present = findings(np.random.default_rng(seed), 300)
    found = finding_sets(p, present, present_from=threshold, alpha=alpha)
    if found is None:
        assert min(present.sum(), (~present).sum()) * alpha < 1
        return
    by = AnswerCalibrator(set_from=found.thresholds)
    for value in p:
        said = Question("Edema", threshold, by).said(float(value))
        assert said.members
        assert len(said.members) == 2 or said.members == (("absent", "present")[said.present],)
    assert found.threshold == min(found.thresholds or ())
    assert found.coverage_reference >= 1 - alpha - 1e-12


def plain_search(
    p: npt.NDArray[np.float64], c: npt.NDArray[np.bool_], promised: float, delta: float
) -> float | None:
    """Down from the candidate of greatest power under true confidences, until the first failure."""
    candidates = [hundredths / 100 for hundredths in range(99, -1, -1)]
    powers = []
    for candidate in candidates:
        above = p[p >= candidate]
        passing = np.flatnonzero(binom.sf(np.arange(-1, len(above)), len(above), promised) <= delta)
        powers.append(binom.sf(passing[0] - 1, len(above), above.mean()) if passing.size else 0)
    found = None
    for candidate in candidates[int(np.argmax(np.round(powers, 12))) :]:
        above = p >= candidate
        if binom.sf(c[above].sum() - 1, above.sum(), promised) > delta:
            break
        found = candidate
    return found


def test_the_search_is_the_plain_one() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        p = rng.uniform(0.3, 1, 400)
        c = rng.random(400) < p + 0.05 * rng.normal()
        threshold = referral_threshold(p, c, promised_accuracy=0.85, delta=0.1)
        assert (threshold and threshold.confidence) == plain_search(p, c, 0.85, 0.1)
        if threshold:
            assert threshold.coverage == np.mean(p >= threshold.confidence)
            assert (threshold.promised_accuracy, threshold.delta) == (0.85, 0.1)


@pytest.mark.slow
def test_the_promise_holds_where_every_test_is_at_its_limit() -> None:
    """Accuracy just below the promise: any threshold is false, and costs at most delta."""
    rng, delta = np.random.default_rng(3), 0.2
    found = 0
    for _ in range(500):
        p = 0.5 + 0.5 * rng.beta(8, 1, 500)
        found += (
            referral_threshold(p, rng.random(500) < 0.9499, promised_accuracy=0.95, delta=delta)
            is not None
        )
    assert found / 500 <= delta + 2.6 * np.sqrt(delta * (1 - delta) / 500)
    assert found / 500 > delta / 3  # the binomial is discrete, but not idle


def test_an_answer_at_the_threshold_counts_as_above() -> None:
    for level in (0.8, 1.0):
        threshold = referral_threshold([level] * 100, [True] * 100, promised_accuracy=0.9)
        assert (threshold.confidence, threshold.coverage) == (0.0, 1.0)
    mixed = referral_threshold(
        [0.8] * 100 + [0.79] * 100, [True] * 100 + [False] * 100, promised_accuracy=0.9
    )
    assert (mixed.confidence, mixed.coverage) == (0.8, 0.5)


def test_promises_that_mean_nothing_are_refused() -> None:
    for promised, delta in [(0, 0.05), (1, 0.05), (0.9, 0), (0.9, 1), (float("nan"), 0.05)]:
        with pytest.raises(ValueError, match=r"\(0, 1\)"):
            referral_threshold([0.9], [True], promised_accuracy=promised, delta=delta)


def test_calibrators_of_two_tags_follow_each_other() -> None:
    tags, p = {"site": "B", "device": "X"}, np.array([0.5, 0.3, 0.2], dtype="<f4")
    fitted = [(2.0, [0.5, -0.5, 0.0]), (0.8, [0.0, 0.3, -0.3])]
    entries = [
        {"key": key, "values": [tags[key]], "temperature": temperature, "class_bias": bias}
        for key, (temperature, bias) in zip(tags, fitted, strict=True)
    ]
    expected = p
    for temperature, bias in fitted:
        expected = softmax(np.log(expected) / temperature + np.array(bias))
    by = AnswerCalibrators({"calibration": {"subgroups": entries}}).choose(tags)
    np.testing.assert_allclose(by(p), expected, rtol=1e-5)
