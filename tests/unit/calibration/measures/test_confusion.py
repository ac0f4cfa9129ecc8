"""The confusion matrix against scikit-learn, and the test of a case mix against SciPy."""

import math

import numpy as np
import pytest
from scipy.stats import chi2, chi2_contingency
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import recall_score

from calibration.measures.confusion import case_mix_p_value, class_rates, confusion_matrix


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
