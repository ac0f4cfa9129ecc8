"""A calibrator as an ONNX graph of standard operators, for any runtime, behind any model.

Input `probabilities` or `logits`, float32 [N, K], or `confidence` [N, 1]; output `calibrated` of
the same shape.
"""

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from calibration.calibrators.portable import FORMAT, PortableCalibrator
from model_store.bundle.graph_part import GraphPart

OPSET, IR_VERSION = 13, 8
OUTPUT = "calibrated"

Input = Literal["probabilities", "logits", "confidence"]


def calibrator_onnx(calibrator: PortableCalibrator, input_name: Input) -> bytes:
    """Return the model file.

    Raises:
        ValueError: `confidence` for a calibrator of probabilities, or the other way around.
    """
    if (input_name == "confidence") != (calibrator.of == "confidence"):
        raise ValueError(f"a calibrator of {calibrator.of} cannot take {input_name}")
    width = 1 if input_name == "confidence" else len(calibrator.classes)
    smallest = np.array([calibrator.smallest], np.float32)
    part = GraphPart("calibrator_")
    of_findings = calibrator.of == "findings"
    if of_findings and input_name == "probabilities":
        absent = part.add("Sub", np.ones(1, np.float32), "probabilities")
        logs = (part.add("Log", part.add("Max", p, smallest)) for p in ("probabilities", absent))
        log_p = part.add("Sub", *logs)
    elif of_findings:
        log_p = "logits"
    elif input_name == "logits":
        log_p = part.add("Max", part.add("LogSoftmax", "logits", axis=-1), np.log(smallest))
    elif input_name == "confidence":
        doubt = part.add("Sub", np.ones(1, np.float32), "confidence")
        both = part.add("Concat", doubt, "confidence", axis=-1)
        log_p = part.add("Log", part.add("Max", both, smallest))
    else:
        log_p = part.add("Log", part.add("Max", "probabilities", smallest))
    weighted = part.add("Mul", log_p, np.array(calibrator.weight, np.float32))
    scores = part.add("Add", weighted, np.array(calibrator.bias, np.float32))
    if input_name == "confidence":
        shares = part.add("Softmax", scores, axis=-1)
        part.add("Gather", shares, np.array([1]), axis=1, output=OUTPUT)
    else:
        activation = {} if of_findings else {"axis": -1}
        part.add("Sigmoid" if of_findings else "Softmax", scores, output=OUTPUT, **activation)
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
