"""`candor.ProbabilityCalibrator`: scikit-learn's own checks, and the figures of `calibrate`."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import candor
from tests.builders.answers import simulated

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


def test_columns_in_another_order_than_the_classes_are_refused() -> None:
    frame = pd.DataFrame(P, columns=["normal", "ill"])
    with pytest.raises(ValueError, match="order of the sorted classes"):
        candor.ProbabilityCalibrator().fit(frame, np.array(["normal", "ill"])[Y])
