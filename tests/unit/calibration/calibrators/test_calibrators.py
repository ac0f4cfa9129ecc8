"""Calibrators against scipy and scikit-learn; what each promises of every other."""

import json
from typing import Self

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from calibration.calibrators.affine import RIDGE, Vector
from calibration.calibrators.histogram import Histogram, Steps
from calibration.calibrators.protocol import Calibrator
from calibration.calibrators.temperature import Temperature
from calibration.measures.metrics import nll
from training.evaluation.calibrators import ALL_CALIBRATORS, Isotonic

Answers = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
EVERY = pytest.mark.parametrize("kind", ALL_CALIBRATORS.values(), ids=ALL_CALIBRATORS)


def skewed_answers(seed: int, *, n: int = 1500, classes: int = 4) -> Answers:
    """Logits, and labels drawn from a vector scaling of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, classes))
    truth = scipy_softmax(
        logits * rng.uniform(0.3, 0.8, classes) + rng.normal(0, 0.7, classes), axis=1
    )
    return logits, (truth.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


def scipy_vector(
    logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Probabilities of the same objective, minimized by quasi-Newton without our derivatives."""
    k, spread = logits.shape[1], (logits - logits.mean(axis=1, keepdims=True)).std()
    z, start = (
        logits / spread,
        np.repeat([spread / Temperature.fit(logits, labels).temperature, 0.0], k),
    )

    def loss(theta: npt.NDArray[np.float64]) -> float:
        log_p = log_softmax(z * theta[:k] + theta[k:], axis=1)
        return float(
            -log_p[np.arange(len(labels)), labels].mean() + RIDGE / 2 * ((theta - start) ** 2).sum()
        )

    theta = minimize(loss, start, options={"gtol": 1e-9, "maxiter": 500}).x
    return np.asarray(scipy_softmax(z * theta[:k] + theta[k:], axis=1))


@pytest.mark.parametrize(("seed", "classes"), [(0, 2), (1, 3), (2, 4)])
def test_vector_scaling_finds_scipys_optimum(seed: int, classes: int) -> None:
    answers = skewed_answers(seed, n=600, classes=classes)
    np.testing.assert_allclose(Vector.fit(*answers)(answers[0]), scipy_vector(*answers), atol=2e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 3000.0])
def test_vector_scaling_stays_finite_on_answers_that_are_all_right(scale: float) -> None:
    logits, _ = skewed_answers(4, n=200)
    fitted = Vector.fit(scale * logits, logits.argmax(axis=1))
    assert np.isfinite([*fitted.weight, *fitted.bias]).all()
    assert nll(fitted(scale * logits), logits.argmax(axis=1)) < 0.02


def test_histogram_binning_by_hand() -> None:
    steps = Steps.fit(
        np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        np.array([0, 0, 1, 0, 1, 1], dtype=bool),
        bin_count=3,
    )
    assert steps.edges == pytest.approx((0.25, 0.45))  # halfway to the next probability
    assert steps.values == (0.0, 0.5, 1.0)
    assert steps(np.array([0.0, 0.25, 0.2500001, 0.4, 1.0])).tolist() == [0, 0, 0.5, 0.5, 1]
    # classes (.5, .5), (1, 0) and (0, 0) before the division by their sums; of nothing, one third
    # each
    three = Histogram((Steps((0.5,), (0.5, 1.0)), Steps((0.3,), (0.0, 0.5)), Steps((), (0.0,))))
    np.testing.assert_allclose(three(np.log([[0.4, 0.4, 0.2]])), [[0.5, 0.5, 0]])
    nothing = Histogram((Steps((), (0.0,)),) * 3)
    np.testing.assert_allclose(nothing([[1.0, 2.0, 3.0]]), [[1 / 3] * 3])


def test_repeated_probabilities_leave_no_bin_empty() -> None:
    steps = Steps.fit(np.repeat([0.2, 0.7], 50), np.arange(100) % 2 == 0)
    assert (steps.edges, steps.values) == (pytest.approx((0.45,)), (0.5, 0.5))
    assert Steps.fit(np.full(5, 0.3), np.array([True] * 5)) == Steps((), (1.0,))


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_isotonic_is_scikit_learns_calibrated_classifier(classes: int) -> None:
    """Told the probabilities, it does the same: one against the rest, normalized."""
    logits, labels = skewed_answers(6, classes=classes)
    fresh = skewed_answers(60, classes=classes)[0]
    theirs = CalibratedClassifierCV(
        FrozenEstimator(Softmax().fit(logits, labels)), method="isotonic"
    )
    np.testing.assert_allclose(
        Isotonic.fit(logits, labels)(fresh),
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
        return np.asarray(scipy_softmax(logits, axis=1))


@EVERY
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_rows_are_probabilities_and_survive_json(kind: type[Calibrator], classes: int) -> None:
    logits, labels = skewed_answers(7, n=200, classes=classes)
    fitted = kind.fit(logits, labels)
    p = fitted(logits.astype(np.float32))
    assert (p.dtype, p.shape) == (np.float64, logits.shape)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert json.loads(json.dumps(fitted.as_dict()))["name"] == kind.name


@pytest.mark.slow
@EVERY
@given(seed=st.integers(0, 1000), classes=st.integers(2, 4))
def test_one_that_says_so_keeps_the_predicted_class(
    kind: type[Calibrator], seed: int, classes: int
) -> None:
    logits, labels = skewed_answers(seed, n=60, classes=classes)
    changed = bool((kind.fit(logits, labels)(logits).argmax(axis=1) != logits.argmax(axis=1)).any())
    assert not (changed and kind.keeps_argmax)


def test_what_cannot_be_fitted_is_refused() -> None:
    for kind in [kind for name, kind in ALL_CALIBRATORS.items() if name != "none"]:
        for logits, labels in [
            (np.empty((0, 3)), []),
            ([[0.0, 1.0]], [2]),
            ([[0.0, 1.0]], [0, 1]),
            ([[0.0, np.nan]], [0]),
            ([[0.0, np.inf]], [0]),
        ]:
            with pytest.raises(ValueError, match=r"label|finite"):
                kind.fit(logits, labels)


@pytest.mark.parametrize("kind", [Histogram, Isotonic])
@pytest.mark.parametrize(("fitted", "given"), [(2, 3), (3, 2), (3, 4)])
def test_logits_of_another_number_of_classes_are_refused(
    kind: type[Calibrator], fitted: int, given: int
) -> None:
    calibrator = kind.fit(*skewed_answers(0, n=50, classes=fitted))
    with pytest.raises(ValueError, match=f"fitted on {fitted} classes; got logits of {given}"):
        calibrator(np.zeros((1, given)))
