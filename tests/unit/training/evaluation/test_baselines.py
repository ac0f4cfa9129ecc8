"""Histogram binning by hand, isotonic regression against scikit-learn, and what is refused."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from training.evaluation.baselines import fit_isotonic, normalized, steps
from training.evaluation.calibrators import FITS

Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


def skewed_answers(seed: int, *, n: int = 1500, classes: int = 4) -> Answers:
    """Logits, and labels drawn from a vector scaling of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, classes))
    truth = softmax(logits * rng.uniform(0.3, 0.8, classes) + rng.normal(0, 0.7, classes), axis=1)
    return logits, (truth.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


def constant(value: float) -> Callable[[Any], npt.NDArray[np.float64]]:
    return lambda p: np.full(len(p), value)


def test_histogram_binning_by_hand() -> None:
    p, truth = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), np.array([0, 0, 1, 0, 1, 1], dtype=bool)
    fitted = steps(p, truth, bin_count=3)  # edges halfway to the next probability: .25, .45
    assert fitted(np.array([0.0, 0.2499, 0.2501, 0.4499, 0.4501, 1.0])).tolist() == [
        0, 0, 0.5, 0.5, 1, 1,
    ]  # fmt: skip


def test_classes_are_normalized() -> None:
    one = normalized([constant(0.5), constant(0.5), constant(0.0)], np.zeros((1, 3)))
    np.testing.assert_allclose(one, [[0.5, 0.5, 0]])
    nothing = normalized([constant(0.0)] * 3, np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(nothing, [[1 / 3] * 3])


def test_repeated_probabilities_leave_no_bin_empty() -> None:
    fitted = steps(np.repeat([0.2, 0.7], 50), np.arange(100) % 2 == 0, bin_count=15)
    assert fitted(np.array([0.1, 0.5, 0.9])).tolist() == [0.5] * 3
    assert steps(np.full(5, 0.3), np.array([True] * 5), bin_count=15)(np.zeros(1)).tolist() == [1]


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_isotonic_is_scikit_learns_calibrated_classifier(classes: int) -> None:
    """Told the probabilities, it does the same: one against the rest, normalized."""
    logits, labels = skewed_answers(6, classes=classes)
    fresh = skewed_answers(60, classes=classes)[0]
    theirs = CalibratedClassifierCV(
        FrozenEstimator(Softmax().fit(logits, labels)), method="isotonic"
    )
    np.testing.assert_allclose(
        fit_isotonic(logits, labels)(fresh),
        theirs.fit(logits, labels).predict_proba(fresh),
        atol=1e-6,
    )


class Softmax(ClassifierMixin, BaseEstimator):
    """A classifier for scikit-learn whose features are the logits."""

    def fit(self, logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> Self:
        self.classes_ = np.unique(labels)
        return self

    def predict(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        return np.asarray(logits.argmax(axis=1))

    def predict_proba(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(softmax(logits, axis=1))


@pytest.mark.parametrize("method", FITS)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_rows_are_probabilities(method: Any, classes: int) -> None:
    logits, labels = skewed_answers(7, n=200, classes=classes)
    p = FITS[method](logits, labels, None)(logits)
    assert (p.dtype, p.shape) == (np.float64, logits.shape)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_what_cannot_be_fitted_is_refused() -> None:
    for fit in [fit for name, fit in FITS.items() if name != "none"]:
        for logits, labels in [
            (np.empty((0, 3)), []),
            ([[0.0, 1.0]], [2]),
            ([[0.0, 1.0]], [0, 1]),
            ([[0.0, np.nan]], [0]),
            ([[0.0, np.inf]], [0]),
        ]:
            with pytest.raises(ValueError, match=r"label|finite"):
                fit(np.asarray(logits), np.asarray(labels), None)
