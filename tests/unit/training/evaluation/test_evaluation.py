"""Calibrators and baselines against scikit-learn; evaluation, and whether a model is of use."""

import json
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
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
from calibration.calibrators.affine import Affine
from calibration.measures.confusion import recalls
from tests.builders.answers import simulated
from training.errors import BadRun
from training.evaluation.baselines import fit_isotonic, normalized, steps
from training.evaluation.calibrators import EXPORTABLE, FITS, METHODS, fit_cautiously
from training.evaluation.caveats import balanced_price, contradiction
from training.evaluation.evaluation import Evaluation, evaluate
from training.evaluation.predictions import Predictions, read_predictions, write_predictions
from training.evaluation.usefulness import constant_answer, shortcomings


def predictions(count: int, *, sharpness: float, seed: int) -> Predictions:
    """Logits whose softmax is true, times `sharpness`: the right temperature is `sharpness`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=2.0, size=(count, 3))
    odds = np.exp(logits)
    chances = (odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1)
    labels = (generator.random((count, 1)) > chances).sum(axis=1)
    return Predictions((sharpness * logits).astype(np.float32), labels.astype(np.int64))


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    val, test = (predictions(4000, sharpness=2.0 + 2 * seed, seed=seed) for seed in (0, 1))
    return evaluate({"val": val, "test": test})


def test_the_temperature_is_fitted_on_validation(evaluation: Evaluation) -> None:
    assert evaluation.temperature == pytest.approx(2.0, rel=0.1)
    val, test = evaluation.measures["val"], evaluation.measures["test"]
    assert val["none"].ece > 0.05
    assert val["temperature"].ece < 0.03
    # Test is sharper, so validation's temperature does not suffice.
    assert test["temperature"].signed_gap > 0.05
    assert test["temperature"].accuracy == test["none"].accuracy


@pytest.mark.slow
def test_test_labels_have_no_influence(evaluation: Evaluation) -> None:
    test = evaluation.predictions["test"]
    other = evaluate(
        {"val": evaluation.predictions["val"], "test": Predictions(test.logits, 2 - test.labels)}
    )
    assert other.temperature == evaluation.temperature
    for method in METHODS:
        np.testing.assert_array_equal(
            other.probabilities("test", method), evaluation.probabilities("test", method)
        )
        assert other.referral(method) == evaluation.referral(method)


@pytest.mark.slow
def test_files_read_back(tmp_path: Path, evaluation: Evaluation) -> None:
    evaluation.write(tmp_path)
    assert evaluate(read_predictions(tmp_path)).as_dict() == evaluation.as_dict()
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["splits"]["test"]["temperature"]["n"] == 4000
    parts = {"temperature", "calibrators", "splits", "answers", "referral", "conformal"}
    assert set(written) == parts


def test_every_calibrator_is_fitted_on_validation_and_marked_where_it_may_change_labels(
    evaluation: Evaluation,
) -> None:
    said = evaluation.as_dict()["calibrators"]
    assert list(said) == ["none", "temperature", "vector", "histogram", "isotonic"]
    assert [each["fitted_on"] for each in said.values()] == [None] + ["val"] * 4
    changed = [each["changed_labels"]["test"] > 0 for each in said.values()]
    assert changed == [False, False, True, True, True]
    for method in ("temperature", "vector", "histogram", "isotonic"):
        assert evaluation.measures["val"][method].ece < evaluation.measures["val"]["none"].ece


def test_affine_calibrators_are_written_and_baselines_are_figures(
    tmp_path: Path, evaluation: Evaluation
) -> None:
    evaluation.write(tmp_path)
    written = json.loads((tmp_path / "calibrators.json").read_text())
    assert list(written) == [*EXPORTABLE]
    for method, data in written.items():
        again = Affine.from_dict(data, 3)
        assert again == evaluation.affine(method)
        logits = evaluation.predictions["test"].logits.astype(np.float64)
        np.testing.assert_array_equal(again(logits), evaluation.probabilities("test", method))
    with pytest.raises(BadRun, match="baseline"):
        evaluation.affine("isotonic")


def test_promises_are_checked_on_both_splits(evaluation: Evaluation) -> None:
    said = evaluation.as_dict()
    sets, referral = said["conformal"], said["referral"]
    assert sets["kept"]["val"]["coverage"] >= 0.9
    assert sets["kept"]["val"]["coverage"] == pytest.approx(sets["coverage_reference"])
    assert referral["kept"]["val"]["accuracy"] >= 0.95
    confidence, correct = evaluation.answers("test", "temperature")
    kept = confidence >= referral["confidence"]
    expected = {"coverage": kept.mean(), "accuracy": correct[kept].mean()}
    assert referral["kept"]["test"] == expected


def test_patients_are_kept(tmp_path: Path) -> None:
    alone = predictions(300, sharpness=1.0, seed=0)
    patients = np.arange(300) // 30
    write_predictions(tmp_path, {"val": replace(alone, groups=patients), "test": alone})
    found = read_predictions(tmp_path)
    assert found["test"].groups is None
    np.testing.assert_array_equal(found["val"].groups, patients)


def test_a_model_without_a_promise_has_no_threshold() -> None:
    guesses = Predictions(np.zeros((40, 3), np.float32), np.arange(40) % 3)
    assert evaluate({"val": guesses, "test": guesses}).as_dict()["referral"] is None


CERTAIN = 2.0  # logit of the answer; confidence .88


def answers(right: int, wrong: int, *, copies: int = 1) -> Predictions:
    """Answers of confidence .88, right and wrong; `copies` of each belong to one patient."""
    labels = np.repeat([1] * right + [0] * wrong, copies).astype(np.int64)
    logits = np.tile(np.float32([0.0, CERTAIN]), (len(labels), 1))
    return Predictions(logits, labels, np.arange(len(labels)) // copies)


def temperature(known: Predictions) -> float:
    return fit_cautiously(known.logits, known.labels, known.groups).temperature


def test_confidence_is_raised_only_with_evidence() -> None:
    assert temperature(answers(34, 1)) == 1.0  # .971 right, said .881, on 35 images
    assert temperature(answers(340, 10)) < 0.8
    assert temperature(answers(34, 1, copies=10)) == 1.0  # 35 patients are 35 observations
    assert temperature(answers(24, 11)) > 1.5  # to lower it needs none


def test_test_contradicts_a_calibrator_that_makes_it_worse() -> None:
    evaluation = evaluate({"val": answers(340, 10), "test": answers(80, 20)})
    found = contradiction(evaluation, "temperature")
    assert found.images == 100
    assert found.nll_after - found.nll_before > 1.6 * found.nll_error > 0
    assert found.ece_after > found.ece_before
    assert contradiction(evaluation, "none") is None
    good = evaluate({"val": answers(340, 10), "test": answers(97, 3)})
    assert contradiction(good, "temperature") is None


def test_right_answers_alone_contradict_no_lower_confidence() -> None:
    evaluation = evaluate({"val": answers(20, 8), "test": answers(9, 0)})
    assert evaluation.temperature > 1.5
    assert contradiction(evaluation, "temperature") is None


def test_what_a_few_patients_say_contradicts_nothing() -> None:
    few = evaluate({"val": answers(340, 10), "test": answers(8, 2, copies=10)})
    assert contradiction(few, "temperature") is None


def test_balanced_weights_cost_what_the_frequencies_give() -> None:
    """Logits of a model for equal frequencies, on a population of nine to one."""
    generator = np.random.default_rng(0)
    labels = (generator.random(4000) < 0.1).astype(np.int64)
    signal = generator.normal(np.where(labels == 1, 1.0, -1.0))
    logits = np.stack([np.zeros(4000), 2 * signal], axis=1).astype(np.float32)
    evaluation = evaluate(dict.fromkeys(("val", "test"), Predictions(logits, labels)))
    balanced, corrected = balanced_price(evaluation, (900, 100))
    assert corrected.nll < balanced.nll - 0.02
    assert corrected.accuracy > balanced.accuracy + 0.03
    assert corrected.mean_recall < balanced.mean_recall - 0.1
    log_odds = 2 * signal + np.log(100 / 900)  # exact for two normal distributions
    exact = np.logaddexp(0, np.where(labels == 1, -log_odds, log_odds)).mean()
    assert corrected.nll == pytest.approx(exact, abs=0.002)


CLASSES = ("healthy", "ill [mild]", "ill: severe")


def answered(*pairs: tuple[int, int, int]) -> Predictions:
    """Predictions of (true class, answered class, count)."""
    labels = np.concatenate([np.full(count, true) for true, _, count in pairs])
    answers = np.concatenate([np.full(count, answer) for _, answer, count in pairs])
    return Predictions(
        (2.0 * np.eye(len(CLASSES)))[answers].astype(np.float32), labels.astype(np.int64)
    )


def on_both(*pairs: tuple[int, int, int]) -> Evaluation:
    return evaluate({"val": answered(*pairs), "test": answered(*pairs)})


COLLAPSED = on_both((0, 0, 60), (1, 0, 30), (2, 0, 10))
USEFUL = on_both((0, 0, 55), (0, 1, 5), (1, 1, 25), (1, 0, 5), (2, 2, 6), (2, 1, 4))
# Finds most of the ill at the price of accuracy, as a model with balanced class weights should.
SENSITIVE = on_both((0, 0, 30), (0, 1, 30), (1, 1, 22), (1, 2, 8), (2, 2, 7), (2, 1, 3))


def test_a_useful_model_has_no_shortcomings() -> None:
    for balanced in (False, True):
        assert shortcomings(USEFUL, CLASSES, method="temperature", balanced=balanced) == []


@pytest.mark.parametrize("balanced", [False, True])
def test_the_model_that_always_says_the_largest_class(balanced: bool) -> None:
    found = shortcomings(COLLAPSED, CLASSES, method="temperature", balanced=balanced)
    assert ("33.3 %" if balanced else "60.0 %") in found[0]
    # of the third, 20 of 200 images tell too little
    named = zip(found, ("'healthy'", "'ill [mild]'"), strict=True)
    assert all(name in sentence for sentence, name in named)


def test_accuracy_below_the_largest_class_is_no_shortcoming_of_a_model_trained_for_recall() -> None:
    (said,) = shortcomings(SENSITIVE, CLASSES, method="temperature", balanced=False)
    assert "right on 59.0 % of the 100 test images" in said
    assert shortcomings(SENSITIVE, CLASSES, method="temperature", balanced=True) == []


def test_an_answer_on_validation_alone_counts() -> None:
    """One image of a class in test may be missed by a model that knows the class."""
    val = answered((0, 0, 20), (1, 1, 9), (2, 2, 2))
    test = answered((0, 0, 20), (1, 1, 9), (2, 0, 1))
    known = evaluate({"val": val, "test": test})
    assert shortcomings(known, CLASSES, method="temperature", balanced=False) == []


def test_a_class_without_evidence_is_unknown_and_refuses_nothing() -> None:
    val = answered((0, 0, 40), (1, 1, 30), (2, 0, 3))
    test = answered((0, 0, 40), (1, 1, 30), (2, 0, 2))
    known = evaluate({"val": val, "test": test})
    for balanced in (False, True):
        assert shortcomings(known, CLASSES, method="temperature", balanced=balanced) == []
    assert recalls(known.confusion("test", "temperature")) == (1.0, 1.0, None)


def test_the_interval_of_the_lead_is_that_of_paired_differences() -> None:
    """100 images: 31 right where the constant is wrong, 5 the other way round."""
    found = constant_answer(USEFUL, "test", "temperature")
    assert (found.label, found.images, found.accuracy) == (0, 100, 0.6)
    assert found.lead == pytest.approx(0.26)
    center = 26 / 102  # with half an image more in each cell
    half = 1.96 * ((37 / 102 - center**2) / 102) ** 0.5
    assert (found.lead_lower, found.lead_upper) == pytest.approx((center - half, center + half))


def test_a_model_that_answers_like_the_constant_on_few_images_is_not_certain_to_be_like_it() -> (
    None
):
    found = constant_answer(on_both((0, 0, 8), (1, 0, 2)), "test", "temperature")
    assert (found.lead, found.lead_lower, found.lead_upper) == pytest.approx(
        (0, -0.163, 0.163), abs=1e-3
    )


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
