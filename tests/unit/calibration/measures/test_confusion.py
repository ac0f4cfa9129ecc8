"""The confusion matrix, seen and expected: by scikit-learn, exact distributions, simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, chi2_contingency
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import recall_score

from calibration.bins import FloatArray
from calibration.measures.confusion import case_mix_p_value, class_rates, confusion_matrix
from calibration.measures.expected_confusion import (
    LabeledSums,
    ProbabilitySums,
    RateEstimate,
    expected_confusion,
    recalibrated,
)


def test_counts_and_rates_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 300), rng.integers(0, 4, 300)
    predicted = probabilities.argmax(axis=1)
    counts = confusion_matrix(probabilities, labels)
    np.testing.assert_array_equal(counts, sklearn_confusion_matrix(labels, predicted))
    rates = class_rates(counts)
    np.testing.assert_allclose(rates.sensitivity, recall_score(labels, predicted, average=None))
    for k in range(4):
        assert rates.specificity[k] == pytest.approx(
            recall_score(labels == k, predicted == k, pos_label=False)
        )


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_p_value_is_that_of_pearsons_test(classes: int) -> None:
    """SciPy's tests of each class, added up; the tail differs from the exact one by < .01."""
    rng = np.random.default_rng(classes)
    for _ in range(20):
        reference, live = (rng.integers(5, 60, (classes, classes)) for _ in range(2))
        tests = [
            chi2_contingency(np.stack(rows), correction=False)
            for rows in zip(reference, live, strict=True)
        ]
        exact = chi2.sf(sum(each.statistic for each in tests), sum(each.dof for each in tests))
        assert case_mix_p_value(reference, live) == pytest.approx(exact, abs=0.01)


def test_another_way_to_answer_is_found_and_nothing_to_compare_is_said() -> None:
    assert case_mix_p_value([[80, 20], [20, 80]], [[50, 50], [5, 95]]) < 1e-4
    assert math.isnan(case_mix_p_value([[5, 5], [0, 0]], [[0, 0], [5, 5]]))


def draw(
    rng: np.random.Generator, n: int, classes: int = 3, sharpness: float = 2.0
) -> tuple[FloatArray, FloatArray]:
    """Calibrated probabilities (n, K) and labels drawn from them."""
    logits = sharpness * rng.normal(size=(n, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return p, (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1)


def poisson_binomial(chances: FloatArray) -> FloatArray:
    """The exact distribution of a number of successes, by convolution."""
    mass = np.ones(1)
    for p in chances:
        mass = np.convolve(mass, [1 - p, p])
    return mass


def test_mean_and_variance_are_those_of_the_exact_distribution() -> None:
    p, _ = draw(np.random.default_rng(0), 60)
    found = expected_confusion(ProbabilitySums.from_probabilities(p))
    for predicted in range(3):
        for true in range(3):
            mass = poisson_binomial(p[p.argmax(axis=1) == predicted, true])
            mean = (np.arange(len(mass)) * mass).sum()
            assert found.counts[true, predicted] == pytest.approx(mean)
            assert found.variance[true, predicted] == pytest.approx(
                (np.arange(len(mass)) ** 2 * mass).sum() - mean**2
            )


def inside(rate: RateEstimate, truth: float) -> bool:
    return rate.lower <= truth <= rate.upper


def test_the_intervals_of_all_rates_cover_what_labels_show() -> None:
    rng = np.random.default_rng(2)
    covered = np.zeros((300, 7))
    for run in covered:
        p, labels = draw(rng, 500)
        found, truth = (
            expected_confusion(ProbabilitySums.from_probabilities(p)),
            confusion_matrix(p, labels),
        )
        rates = class_rates(truth)
        run[0] = inside(found.accuracy, truth.trace() / truth.sum())
        run[1:4] = [
            inside(*pair) for pair in zip(found.sensitivity, rates.sensitivity, strict=True)
        ]
        run[4:] = [inside(*pair) for pair in zip(found.specificity, rates.specificity, strict=True)]
    assert (covered.mean(axis=0) > 0.91).all()
    assert (covered.mean(axis=0) < 0.99).all()


def test_a_small_reference_widens_the_interval_so_that_it_covers_its_error() -> None:
    """The model is off by what 200 reference answers could not show."""
    rng, covered, too_narrow = np.random.default_rng(3), 0, 0
    for _ in range(300):
        p, labels = draw(rng, 2_000, classes=2)
        reference, reference_labels = draw(rng, 200, classes=2)
        # Shift every probability by the gap by which the reference happened to be off, for each
        # predicted class.
        for predicted in range(2):
            there = reference.argmax(axis=1) == predicted
            gap = (reference_labels[there] == predicted).mean() - reference[there, predicted].mean()
            here = p.argmax(axis=1) == predicted
            p[here, predicted] += gap
            p[here, 1 - predicted] -= gap
        chosen = np.eye(2)[np.where(p[:, 0] > p[:, 1], 0, 1)]
        sums = ProbabilitySums(p.T @ chosen, np.clip(p, 0, 1).T ** 2 @ chosen)
        truth = (labels == chosen.argmax(axis=1)).mean()
        known = np.bincount(reference.argmax(axis=1), minlength=2)
        covered += inside(expected_confusion(sums, reference=known).accuracy, truth)
        too_narrow += inside(expected_confusion(sums).accuracy, truth)
    assert covered / 300 > 0.92
    assert too_narrow / 300 < 0.7


def test_labels_correct_an_overconfident_model() -> None:
    rng, covered, before = np.random.default_rng(4), 0, 0
    for _ in range(200):
        p, labels = draw(rng, 3_000)
        sharp = p**2 / (p**2).sum(axis=1, keepdims=True)
        labeled = LabeledSums.from_predictions(sharp[:500], labels[:500])
        rest, truth = (
            ProbabilitySums.from_probabilities(sharp[500:]),
            confusion_matrix(sharp[500:], labels[500:]),
        )
        found = recalibrated(rest, labeled)
        np.testing.assert_allclose(found.counts.sum(axis=0), truth.sum(axis=0), atol=1e-6)
        covered += inside(found.accuracy, truth.trace() / truth.sum())
        before += inside(expected_confusion(rest).accuracy, truth.trace() / truth.sum())
    assert covered / 200 > 0.91
    assert before / 200 < 0.05


def test_a_class_without_labels_cannot_be_corrected() -> None:
    labeled = LabeledSums.from_predictions([[0.9, 0.1]] * 40, [0] * 40)
    assert (
        recalibrated(ProbabilitySums.from_probabilities([[0.9, 0.1], [0.2, 0.8]]), labeled) is None
    )


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2)), min_size=1, max_size=40
    )
)
def test_rates_and_counts_stay_in_their_ranges(rows: list[tuple[float, float, int]]) -> None:
    p = np.array([[a + 1e-3, b + 1e-3, 0.5] for a, b, _ in rows])
    p /= p.sum(axis=1, keepdims=True)
    sums, labeled = (
        ProbabilitySums.from_probabilities(p),
        LabeledSums.from_predictions(p, [y for *_, y in rows]),
    )
    matrices = [expected_confusion(sums, reference=[10, 0, 5]), recalibrated(sums, labeled)]
    for matrix in filter(None, matrices):
        assert matrix.counts.sum() == pytest.approx(len(p))
        assert (matrix.counts >= 0).all()
        assert (matrix.variance >= 0).all()
        answered = (matrix.counts.sum(axis=0) > 0).tolist()
        for rate, said in zip(
            (matrix.accuracy, *matrix.sensitivity, *matrix.specificity),
            (True, *answered, *answered),
            strict=True,
        ):
            if rate.n and said:
                assert 0 <= rate.lower <= rate.value + 1e-9 <= rate.upper + 2e-9 <= 1 + 3e-9
            else:
                assert np.isnan([rate.lower, rate.upper, rate.deviation]).all()


def test_one_label_of_a_class_does_not_make_its_rate_certain() -> None:
    sums = ProbabilitySums.from_probabilities([[0.99, 0.01]] * 50 + [[0.01, 0.99]] * 50)
    labeled = LabeledSums.from_predictions([[0.99, 0.01]] * 60 + [[0.01, 0.99]], [0] * 60 + [1])
    found = recalibrated(sums, labeled)
    # some of class 0 may be among the answers "1", for which one label speaks
    sensitivity = found.sensitivity[0]
    assert sensitivity.value == pytest.approx(1)
    assert sensitivity.lower < 0.5
