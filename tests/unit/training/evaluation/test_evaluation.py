"""Evaluation and its files, what test contradicts, and whether a model is of use."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.calibrators.affine import Affine
from calibration.measures.confusion import recalls
from training.errors import BadRun
from training.evaluation.calibrators import EXPORTABLE, METHODS, fit_cautiously
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
