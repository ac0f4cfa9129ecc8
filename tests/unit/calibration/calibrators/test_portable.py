"""The calibrator to take away: by the published formula, through JSON, and what it refuses."""

import json

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from calibration.calibrators.affine import Affine, CalibratorInvalid
from calibration.calibrators.portable import PortableCalibrator
from tests.builders.answers import simulated

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
