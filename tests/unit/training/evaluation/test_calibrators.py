"""Baselines by hand and against scikit-learn, and the calibrator in its shape."""

import pickle
import warnings
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import candor
from tests.builders.answers import simulated
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


P, Y = simulated(0, rows=400, temperature=2.2)


@pytest.mark.nightly  # half a minute
def test_it_passes_the_checks_of_scikit_learn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the checks themselves
        for estimator in (None, LogisticRegression()):
            found = check_estimator(candor.ProbabilityCalibrator(estimator), on_skip=None)
            assert {each["status"] for each in found} <= {"passed", "skipped"}


@pytest.mark.slow
def test_probabilities_are_calibrated_as_by_calibrate() -> None:
    names = np.array(["ill", "normal"])
    found = candor.ProbabilityCalibrator().fit(P, names[Y])
    expected = candor.calibrate(P, Y).transform(P)
    assert np.allclose(found.predict_proba(P), expected)
    assert (found.predict(P) == names[expected.argmax(axis=1)]).all()
    single = candor.ProbabilityCalibrator().fit(P[:, 1:], Y)
    assert np.allclose(single.predict_proba(P[:, 1:]), expected)
    with pytest.raises(ValueError, match="probabilities"):
        found.predict_proba(3 * P)


@pytest.mark.slow
def test_it_is_cloned_pickled_and_stands_in_a_pipeline() -> None:
    x, y = make_classification(2_000, 10, n_informative=4, n_redundant=4, random_state=0)
    calibrator = candor.ProbabilityCalibrator(GaussianNB(), random_state=3)
    again = clone(calibrator)
    assert again.get_params()["random_state"] == 3
    pipeline = make_pipeline(StandardScaler(), again).fit(x[:1000], y[:1000])
    raw = make_pipeline(StandardScaler(), GaussianNB()).fit(x[:1000], y[:1000])
    before, after = (
        candor.measure(each.predict_proba(x[1000:]), y[1000:]) for each in (raw, pipeline)
    )
    assert after.ece < before.ece
    restored = pickle.loads(pickle.dumps(pipeline))
    assert (restored.predict_proba(x) == pipeline.predict_proba(x)).all()


def test_a_fitted_model_and_patients_are_kept() -> None:
    x, y = make_classification(400, 6, random_state=1)
    model = LogisticRegression().fit(x[:200], y[:200])
    found = candor.ProbabilityCalibrator(FrozenEstimator(model))
    found.fit(x[200:], y[200:], groups=np.arange(200) // 4)
    assert found.examination_.groups == 50


def test_images_of_a_patient_are_unseen_together() -> None:
    """A nearest neighbor knows by heart what it has seen, and nothing else."""
    rng, patients = np.random.default_rng(0), np.repeat(np.arange(100), 4)
    x, y = rng.normal(size=(100, 4))[patients], rng.integers(0, 2, 100)[patients]
    found = candor.ProbabilityCalibrator(KNeighborsClassifier(1)).fit(x, y, groups=patients)
    assert found.examination_.given.measures.accuracy < 0.7


def test_columns_in_another_order_than_the_classes_are_refused() -> None:
    frame = pd.DataFrame(P, columns=["normal", "ill"])
    with pytest.raises(ValueError, match="order of the sorted classes"):
        candor.ProbabilityCalibrator().fit(frame, np.array(["normal", "ill"])[Y])
