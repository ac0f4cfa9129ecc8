"""Promises are fitted on answers of calibrators that have not seen their labels."""

import numpy as np
import pytest

from calibration.calibrators.remedies import TEMPERATURE, VECTOR, Remedy
from calibration.calibrators.temperature import softmax
from calibration.cross_fitting import cross_fit, fold_numbers

Answers = tuple[np.ndarray, np.ndarray]


def draw(seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (40, 3))
    return 1.7 * logits, (softmax(logits).cumsum(axis=1) > rng.random((40, 1))).argmax(axis=1)


def cross_fitted(remedy: Remedy, answers: Answers, folds: np.ndarray) -> np.ndarray:
    z, y = answers
    return cross_fit(lambda rows: remedy.fit(z[rows], y[rows]), z, folds)


def test_a_row_is_calibrated_without_its_label() -> None:
    logits, labels = draw(1)
    folds = fold_numbers(labels, None, seed=0, count=10)
    other = np.where(np.arange(40) == 7, (labels + 1) % 3, labels)
    before, after = (cross_fitted(VECTOR, (logits, each), folds) for each in (labels, other))
    np.testing.assert_array_equal(before[7], after[7])
    assert (before != after).any()


def test_patients_are_kept_together() -> None:
    logits, labels = draw(2)
    groups = np.repeat(np.arange(10), 4)
    folds = fold_numbers(labels, groups, seed=0, count=10)
    other = np.where(groups == 3, (labels + 1) % 3, labels)
    before, after = (cross_fitted(TEMPERATURE, (logits, each), folds) for each in (labels, other))
    assert (before == after)[groups == 3].all()
    assert not (before == after).all()


def test_folds_are_as_large_and_as_mixed_as_they_can_be() -> None:
    labels = np.repeat([0, 1], [83, 20])
    folds = fold_numbers(labels, None, seed=3)
    assert np.ptp(np.bincount(folds)) <= 1
    assert np.bincount(folds[labels == 1]).tolist() == [4] * 5


def test_each_fold_needs_an_answer_and_the_others_one() -> None:
    with pytest.raises(ValueError, match="at least 2 answers or groups; got 1"):
        fold_numbers(np.zeros(2), [5, 5], seed=0, count=1)
