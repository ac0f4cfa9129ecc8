"""Class maps in the graph are the calibrators': at knots, at the ends, in pure bins."""

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from calibration.calibrators.histogram import Histogram
from calibration.calibrators.protocol import Calibrator
from model_store.bundle.class_maps import ClassMap, with_class_maps
from model_store.bundle.graph import with_calibrator
from model_store.runtime import ort
from training.evaluation.calibrators import Isotonic
from training.runs.onnx_graph import calibrated

Logits = npt.NDArray[np.float32]


def tail(classes: int, *, opset: int = 13) -> bytes:
    """softmax(logits / temperature), as every graph of a bundle ends."""
    nodes = [
        helper.make_node("Div", ["logits", "temperature"], ["cooled"]),
        helper.make_node("Softmax", ["cooled"], ["probabilities"], axis=-1),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes])
        for name in ("logits", "probabilities")
    ]
    temperature = numpy_helper.from_array(np.ones(1, np.float32), "temperature")
    graph = helper.make_graph(nodes, "tail", values[:1], values[1:], [temperature])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def run(model: bytes, logits: Logits) -> npt.NDArray[np.float32]:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"logits": logits})[0])


def answers(classes: int, seed: int, *, sharpness: float) -> tuple[Logits, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(300, classes)) * sharpness).astype(np.float32)
    drawn = np.exp(logits / sharpness)
    labels = (drawn.cumsum(1) > rng.random((300, 1)) * drawn.sum(1, keepdims=True)).argmax(1)
    return logits, labels.astype(np.int64)


def mapped(calibrator: Calibrator, classes: int) -> bytes:
    return calibrated(tail(classes), calibrator)


def test_the_graph_gives_the_calibrators_probabilities() -> None:
    for kind in [Histogram, Isotonic]:
        for classes in [2, 3, 7]:
            for sharpness in [0.5, 3.0, 6.0]:
                logits, labels = answers(classes, 0, sharpness=sharpness)
                calibrator = kind.fit(logits, labels)
                others, _ = answers(classes, 1, sharpness=sharpness)
                model = mapped(calibrator, classes)
                for batch in (logits, others, others[:1], np.full((1, classes), -300, np.float32)):
                    np.testing.assert_allclose(
                        run(model, batch), calibrator(batch.astype(np.float64)), atol=1e-6
                    )


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-90, 90, width=32), min_size=4, max_size=4), st.integers(0, 3))
def test_any_logits(row: list[float], seed: int) -> None:
    logits, labels = answers(4, seed, sharpness=2.0)
    calibrator = Isotonic.fit(logits, labels)
    batch = np.array([row], np.float32)
    np.testing.assert_allclose(
        run(mapped(calibrator, 4), batch), calibrator(batch.astype(np.float64)), atol=1e-6
    )


def test_a_row_without_any_probability_becomes_equal_shares() -> None:
    nothing = ClassMap.steps([], [0.0])
    probabilities = run(with_class_maps(tail(3), [nothing] * 3), np.zeros((2, 3), np.float32))
    np.testing.assert_allclose(probabilities, np.full((2, 3), 1 / 3), atol=1e-7)


def test_a_recalibration_continues_after_the_maps() -> None:
    logits, labels = answers(3, 0, sharpness=3.0)
    calibrator = Isotonic.fit(logits, labels)
    before = np.maximum(calibrator(logits.astype(np.float64)), np.finfo(np.float32).tiny)
    bias = np.array([0.5, -0.2, -0.3])
    model = with_calibrator(mapped(calibrator, 3), temperature=1.7, class_bias=bias.tolist())
    expected = np.exp(np.log(before) / 1.7 + bias)
    np.testing.assert_allclose(
        run(model, logits), expected / expected.sum(1, keepdims=True), atol=1e-6
    )


@pytest.mark.parametrize(
    ("model", "said"), [(tail(3, opset=11), "opset 13 or later"), (b"", "does not divide")]
)
def test_a_graph_without_a_place_for_them_is_refused(model: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        with_class_maps(model, [ClassMap.steps([], [0.0])] * 3)
