"""A calibrator as an ONNX graph of standard operators, for any runtime, behind any model.

Input `probabilities` or `logits`, float32 [N, K], or `confidence` [N, 1]; output `calibrated` of
the same shape.
"""

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calibration.calibrators.portable import FORMAT, PortableCalibrator

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
    constants = {
        "smallest": np.array([calibrator.smallest], np.float32),
        "weight": np.array(calibrator.weight, np.float32),
        "bias": np.array(calibrator.bias, np.float32),
    }
    nodes = []
    if input_name == "logits":
        nodes.append(helper.make_node("LogSoftmax", ["logits"], ["log_p"], axis=-1))
        nodes.append(helper.make_node("Max", ["log_p", "log_smallest"], ["log_probabilities"]))
        constants["log_smallest"] = np.log(np.array([calibrator.smallest])).astype(np.float32)
        del constants["smallest"]
    else:
        both: str = input_name
        if input_name == "confidence":
            constants["one"] = np.array([1], np.float32)
            nodes.append(helper.make_node("Sub", ["one", "confidence"], ["doubt"]))
            nodes.append(helper.make_node("Concat", ["doubt", "confidence"], ["both"], axis=-1))
            both = "both"
        nodes.append(helper.make_node("Max", [both, "smallest"], ["positive"]))
        nodes.append(helper.make_node("Log", ["positive"], ["log_probabilities"]))
    nodes.append(helper.make_node("Mul", ["log_probabilities", "weight"], ["weighted"]))
    nodes.append(helper.make_node("Add", ["weighted", "bias"], ["scores"]))
    end = "all" if input_name == "confidence" else OUTPUT
    nodes.append(helper.make_node("Softmax", ["scores"], [end], axis=-1))
    if input_name == "confidence":
        constants["second"] = np.array([1], np.int64)
        nodes.append(helper.make_node("Gather", ["all", "second"], [OUTPUT], axis=1))
    graph = helper.make_graph(
        nodes,
        "candor_calibrator",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", width])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
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
