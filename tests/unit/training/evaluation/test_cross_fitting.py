"""Promises are fitted on answers of calibrators that have not seen their labels."""

import numpy as np
import pytest

from calibration.calibrators.affine import Vector
from calibration.calibrators.temperature import Temperature, softmax
from training.evaluation.calibrators import cross_fitted


def draw(rng: np.random.Generator, count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    logits = rng.normal(0, 2, (count, classes))
    return 1.7 * logits, (softmax(logits).cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)


def test_a_row_is_calibrated_without_its_label() -> None:
    logits, labels = draw(np.random.default_rng(1), 40, 3)
    before = cross_fitted(Vector, logits, labels)
    other = labels.copy()
    other[7] = (other[7] + 1) % 3
    after = cross_fitted(Vector, logits, other)
    np.testing.assert_array_equal(before[7], after[7])
    assert (before != after).any()


def test_patients_are_kept_together() -> None:
    rng = np.random.default_rng(2)
    logits, labels = draw(rng, 40, 3)
    groups = np.repeat(np.arange(10), 4)
    other = np.where(groups == 3, (labels + 1) % 3, labels)
    same = cross_fitted(Temperature, logits, labels, groups=groups) == cross_fitted(
        Temperature, logits, other, groups=groups
    )
    assert same[groups == 3].all()
    assert not same.all()


def test_one_image_is_not_enough() -> None:
    with pytest.raises(ValueError, match="at least two images or groups; got 1"):
        cross_fitted(Temperature, np.zeros((1, 2)), np.zeros(1, dtype=np.int64))
