"""Evaluation, its files and plots."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.calibrators.affine import Affine
from training.errors import BadRun
from training.evaluation.calibrators import EXPORTABLE, METHODS
from training.evaluation.evaluation import Evaluation, evaluate
from training.evaluation.predictions import Predictions, read_predictions, write_predictions


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
