"""A calibrator as ONNX gives in ONNX Runtime what it gives in NumPy."""

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from scipy.special import softmax

from calibration.calibrators.affine import Affine
from calibration.calibrators.portable import PortableCalibrator
from model_store.bundle.calibrator_graph import calibrator_onnx
from tests.builders.answers import simulated

CALIBRATORS = (
    PortableCalibrator(Affine.of_temperature(2.0, 3), ("a", "b", "c")),
    PortableCalibrator(
        Affine((0.5, 0.8, 1.7), (0.9, -0.4, -0.5), method="vector"), ("a", "b", "c"), 0.0025
    ),
    PortableCalibrator(Affine.identity(3), ("a", "b", "c")),
)


def run(model: bytes, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert {node.domain for node in onnx.load_model_from_string(model).graph.node} == {""}
    (given,), (taken,) = session.get_inputs(), session.get_outputs()
    assert taken.name == "calibrated"
    found: npt.NDArray[np.float32] = session.run(None, {given.name: values.astype(np.float32)})[0]
    return found


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=lambda each: each.method)
def test_probabilities_and_logits_are_calibrated_alike(calibrator: PortableCalibrator) -> None:
    p, _ = simulated(0, rows=200, classes=3)
    edge = np.vstack([p, [[1.0, 0.0, 0.0]], [[0.5, 0.5, 0.0]]])
    assert (
        np.abs(run(calibrator_onnx(calibrator, "probabilities"), edge) - calibrator(edge)).max()
        < 1e-6
    )
    z = np.random.default_rng(1).normal(4.0, 3.0, (200, 3))
    extreme = np.vstack([z, [[300.0, -300.0, 0.0]]])
    found = run(calibrator_onnx(calibrator, "logits"), extreme)
    assert np.abs(found - calibrator(softmax(extreme, axis=1))).max() < 1e-5


def test_a_confidence_is_a_column() -> None:
    affine = Affine((0.5, 0.5), (0.4, -0.4), method="temperature_bias")
    platt = PortableCalibrator(affine, ("wrong", "right"), of="confidence")
    p = np.linspace(0, 1, 101)
    found = run(calibrator_onnx(platt, "confidence"), p[:, np.newaxis])
    assert found.shape == (101, 1)
    assert np.abs(found[:, 0] - platt(p)).max() < 1e-6


def test_another_kind_of_input_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot take confidence"):
        calibrator_onnx(CALIBRATORS[0], "confidence")
