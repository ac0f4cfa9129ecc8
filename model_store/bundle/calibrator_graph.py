"""A calibrator as an ONNX graph of standard operators, for any runtime, behind any model.

Input `probabilities` or `logits`, float32 [N, K], or `confidence` [N, 1]; output `calibrated` of
the same shape.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from calibration.calibrators.portable import FORMAT, PortableCalibrator, Subject
from model_store.bundle.graph_part import GraphPart

OPSET, IR_VERSION = 13, 8
OUTPUT = "calibrated"

Input = Literal["probabilities", "logits", "confidence"]
_Float = npt.NDArray[np.float32]


def calibrator_onnx(calibrator: PortableCalibrator, input_name: Input) -> bytes:
    """Return the model file.

    Raises ValueError: `confidence` for a calibrator of probabilities, or the other way around.
    """
    scores_of = _SCORES.get((calibrator.of, input_name))
    if scores_of is None:
        raise ValueError(f"a calibrator of {calibrator.of} cannot take {input_name}")
    width = 1 if input_name == "confidence" else len(calibrator.classes)
    part = GraphPart("calibrator_")
    given_scores = scores_of(part, np.array([calibrator.smallest], np.float32))
    weighted = part.add("Mul", given_scores, np.array(calibrator.affine.weight, np.float32))
    _ENDS[calibrator.of](
        part, part.add("Add", weighted, np.array(calibrator.affine.bias, np.float32))
    )
    given, calibrated = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
        for name in (input_name, OUTPUT)
    )
    graph = helper.make_graph(
        part.nodes, "candor_calibrator", [given], [calibrated], part.constants
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    model.producer_name = "candor"
    helper.set_model_props(
        model,
        {"format": FORMAT, "method": calibrator.method, "classes": "\n".join(calibrator.classes)},
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _log(part: GraphPart, p: str, smallest: _Float) -> str:
    return part.add("Log", part.add("Max", p, smallest))


def _log_odds(part: GraphPart, smallest: _Float) -> str:
    absent = part.add("Sub", np.ones(1, np.float32), "probabilities")
    return part.add("Sub", *(_log(part, p, smallest) for p in ("probabilities", absent)))


def _log_shares(part: GraphPart, smallest: _Float) -> str:
    return part.add("Max", part.add("LogSoftmax", "logits", axis=-1), np.log(smallest))


def _log_confidence(part: GraphPart, smallest: _Float) -> str:
    doubt = part.add("Sub", np.ones(1, np.float32), "confidence")
    return _log(part, part.add("Concat", doubt, "confidence", axis=-1), smallest)


def _confidence(part: GraphPart, scores: str) -> str:
    shares = part.add("Softmax", scores, axis=-1)
    return part.add("Gather", shares, np.array([1]), axis=1, output=OUTPUT)


_SCORES: Final[Mapping[tuple[Subject, Input], Callable[[GraphPart, _Float], str]]] = {
    ("probabilities", "probabilities"): lambda part, least: _log(part, "probabilities", least),
    ("probabilities", "logits"): _log_shares,
    ("confidence", "confidence"): _log_confidence,
    ("findings", "probabilities"): _log_odds,
    ("findings", "logits"): lambda _part, _least: "logits",
}
_ENDS: Final[Mapping[Subject, Callable[[GraphPart, str], str]]] = {
    "probabilities": lambda part, scores: part.add("Softmax", scores, output=OUTPUT, axis=-1),
    "confidence": _confidence,
    "findings": lambda part, scores: part.add("Sigmoid", scores, output=OUTPUT),
}
