"""What a calibrator promises on new rows, in a file, and beside a constant answer."""

import json

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from calibration.calibrators.affine import Affine, CalibratorInvalid
from calibration.calibrators.constant_answer import beats_constant_answer, beats_prevalences
from calibration.calibrators.honest_fit import TooFewRows, fit_honestly
from calibration.calibrators.portable import PortableCalibrator
from calibration.measures.metrics import nll
from tests.builders.answers import simulated


@pytest.mark.slow
def test_the_improvement_promised_is_the_one_on_new_rows() -> None:
    """Temperature 2 on 400 rows: cross-fitted figures against 5,000 new rows."""
    promised, found = [], []
    for seed in range(6):
        p, y = simulated(seed, rows=400, temperature=2.0)
        new_p, new_y = simulated(1_000 + seed, rows=5_000, temperature=2.0)
        fit = fit_honestly(p, y)
        assert (fit.remedy, fit.judged) == ("temperature", "cross-fitted")
        assert fit.affine is not None
        promised.append(fit.improvement)
        found.append(nll(new_p, new_y) - nll(fit.affine(np.log(new_p)), new_y))
    error = np.std(promised) / np.sqrt(len(promised))
    assert np.mean(promised) == pytest.approx(np.mean(found), abs=3 * error)


@pytest.mark.slow
def test_many_rows_are_judged_by_those_that_were_not_used() -> None:
    p, y = simulated(0, rows=2_800, classes=3, temperature=1.6)
    fit = fit_honestly(p, y)
    assert (fit.judged, fit.fitted_on, len(fit.rows)) == ("held-out", 1_400, 1_400)
    assert fit.affine is not None
    assert np.allclose(fit.probabilities, fit.affine(np.log(p[fit.rows])))
    changed = y.copy()
    changed[fit.rows] = p[fit.rows].argmax(axis=1)  # their labels do not reach the fit
    again = fit_honestly(p, changed)
    assert again.choice == fit.choice
    assert again.remedy is None, "it does not improve the rows that judge it"


def test_a_group_is_on_one_side() -> None:
    p, y = simulated(1, rows=2_800, temperature=2.0)
    groups = np.arange(2_800) // 9
    fit = fit_honestly(p, y, groups=groups)
    judged = set(groups[fit.rows])
    assert len(judged) * 9 <= len(fit.rows) + 9
    assert not judged & set(np.delete(groups, fit.rows))


def test_labels_of_one_class_are_refused() -> None:
    p, _ = simulated(0)
    with pytest.raises(TooFewRows, match="one class"):
        fit_honestly(p, np.zeros(len(p), dtype=int))


@pytest.mark.slow
def test_many_classes_have_a_temperature_only() -> None:
    p, y = simulated(3, rows=400, classes=31, temperature=2.0)
    fit = fit_honestly(p, y, allow_label_changes=True)
    assert fit.remedy == "temperature"
    assert {trial.name for trial in fit.choice.trials if trial.excluded} == {
        "case_mix",
        "temperature_bias",
        "vector",
    }


WEIGHTS, BIASES = (0.5, 0.8, 1.2), (0.3, -0.2, -0.1)
VECTOR = PortableCalibrator(
    Affine(WEIGHTS, BIASES, method="vector"), ("a", "b", "c"), 1e-6, about={"rows": 3}
)


def test_five_lines_of_numpy_give_the_same() -> None:
    p, _ = simulated(0, classes=3)
    c = json.loads(VECTOR.as_json())
    z = np.log(np.maximum(p, c["smallest"])) * c["weight"] + c["bias"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    assert np.allclose(VECTOR(p), e / e.sum(axis=1, keepdims=True), atol=1e-15)


def test_json_returns_the_same_calibrator() -> None:
    assert PortableCalibrator.from_json(VECTOR.as_json()) == VECTOR


def test_logits_give_what_their_probabilities_give() -> None:
    z = np.random.default_rng(0).normal(0, 3, (50, 3)) + 7.0
    assert np.allclose(VECTOR.from_logits(z), VECTOR(softmax(z, axis=1)))
    assert np.allclose(
        VECTOR.from_logits(z), softmax(log_softmax(z, axis=1) * WEIGHTS + BIASES, axis=1)
    )


def test_a_confidence_stays_in_order_and_has_its_own_shape() -> None:
    affine = Affine((0.5, 0.5), (0.4, -0.4), method="temperature_bias")
    platt = PortableCalibrator(affine, ("wrong", "right"), of="confidence")
    p = np.linspace(0, 1, 101)
    assert platt(p).shape == (101,)
    assert (np.diff(platt(p)) > 0).all()
    with pytest.raises(CalibratorInvalid, match=r"confidences of shape \(N,\)"):
        platt([[0.5, 0.5]])


@pytest.mark.parametrize(
    "wrong", [[[0.5, 0.5]], [0.1, 0.2, 0.7], [[0.5, 0.6, -0.1]], [[np.nan, 0.5, 0.5]]]
)
def test_other_shapes_and_values_are_refused(wrong: object) -> None:
    with pytest.raises(CalibratorInvalid):
        VECTOR(wrong)


def test_what_is_no_calibrator_is_refused() -> None:
    for change, said in [
        ({"format": "candor-calibrator/2"}, '"format" must be'),
        ({"of": "logits"}, '"of" must be'),
        ({"classes": ["a"]}, '"classes" must be'),
        ({"classes": "abc"}, '"classes" must be'),
        ({"weight": [1, 2]}, '"weight" must be a list of 3'),
        ({"bias": [0, 0, float("nan")]}, '"bias" must be a list of 3'),
        ({"smallest": 0}, '"smallest" must be'),
        ({"method": None}, '"method" must be'),
        ({"of": "confidence"}, "has two classes; got 3"),
    ]:
        with pytest.raises(CalibratorInvalid, match=said):
            PortableCalibrator.from_json(json.dumps(VECTOR.as_dict() | change))


def test_what_is_no_json_object_is_refused() -> None:
    for text in ["", "[1]", "{", "null", "[" * 100_000]:
        with pytest.raises(CalibratorInvalid):
            PortableCalibrator.from_json(text)


Y = np.repeat([0, 1], (90, 10))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.5])
def test_the_same_answer_for_each_image_never_passes(share: float) -> None:
    assert not beats_constant_answer(np.tile([1 - share, share], (100, 1)), Y)
    labels = np.stack([Y, np.where(np.arange(100) < 50, np.nan, Y)], axis=1)
    assert not beats_prevalences(np.full((100, 2), share), labels)


def test_a_model_that_ranks_a_rare_class_passes_though_it_never_predicts_it() -> None:
    p = np.where(Y == 1, 0.4, 0.05)
    assert beats_constant_answer(np.stack([1 - p, p], axis=1), Y)
    assert beats_prevalences(p[:, None], Y[:, None].astype(float))


def test_noise_does_not_pass_and_a_patient_is_one_observation() -> None:
    p = np.where(np.arange(100) % 2, 0.05, 0.15)  # knows nothing
    assert not beats_constant_answer(np.stack([1 - p, p], axis=1), Y)
    y, few = np.repeat([0, 1], (50, 50)), np.where(np.arange(100) % 10 < 7, 0.6, 0.4)
    said = np.stack([1 - np.where(y == 1, few, 1 - few), np.where(y == 1, few, 1 - few)], axis=1)
    assert beats_constant_answer(said, y)
    assert not beats_constant_answer(said, y, np.arange(100) % 10 // 4)  # three patients


def test_finding_a_rare_class_at_the_price_of_accuracy_and_nll_passes() -> None:
    """Half of the rare, a tenth of the others: as balanced class weights answer, and too sure."""
    said = np.concatenate([np.repeat([0, 1], (81, 9)), np.repeat([0, 1], (5, 5))])
    assert (said == Y).mean() < 0.9
    p = np.where(said[:, None] == [0, 1], 0.999, 0.001)
    assert beats_constant_answer(p, Y)
    patients = np.where(Y == 1, said, 2 + np.arange(100))  # two with the rare class
    assert not beats_constant_answer(p, Y, patients)
    assert not beats_constant_answer(p[:94], Y[:94])  # four images of a class tell nothing


def test_no_labels_show_nothing() -> None:
    assert not beats_constant_answer(np.empty((0, 2)), np.empty(0, np.int64))
    assert not beats_prevalences(np.full((5, 1), 0.5), np.full((5, 1), np.nan))
