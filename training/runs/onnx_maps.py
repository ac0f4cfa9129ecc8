"""Histogram and isotonic calibrators of a run as nodes of its graph, compared with the calibrators themselves."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from calibration.calibrators import Calibrator
from calibration.histogram import Histogram
from model_store.class_maps import ClassMap, with_class_maps
from model_store.graph import TEMPERATURE
from model_store.runtime import ort
from training.errors import ExportMismatch
from training.evaluation.isotonic import Isotonic
from training.runs.onnx_graph import MAX_DIFFERENCE


def class_maps(calibrator: Calibrator) -> tuple[ClassMap, ...] | None:
    """The maps that the graph needs for `calibrator`; None if it is a scaling of logits."""
    if isinstance(calibrator, Histogram):
        return tuple(ClassMap.steps(each.edges, each.values) for each in calibrator.classes)
    if isinstance(calibrator, Isotonic):
        return tuple(ClassMap.lines(each.x, each.y) for each in calibrator.classes)
    return None


def add_maps(
    network: bytes, calibrator: Calibrator, maps: Sequence[ClassMap], images: NDArray[np.uint8]
) -> tuple[bytes, float]:
    """The graph of `network` with `maps`, and the largest difference of its probabilities to those of `calibrator`.

    Both get the logits that ONNX Runtime computes of `images`: a step function would magnify their rounding. Raises
    ExportMismatch above 1e-4.
    """
    logits_name = next(node.input[0] for node in onnx.load_model_from_string(network).graph.node if _divides(node))
    mapped = with_class_maps(network, maps)
    both = onnx.load_model_from_string(mapped)
    both.graph.output.append(onnx.helper.make_tensor_value_info(logits_name, onnx.TensorProto.FLOAT, None))
    session = ort.InferenceSession(both.SerializeToString(), providers=["CPUExecutionProvider"])
    probabilities, logits = session.run(["probabilities", logits_name], {"image": images})
    difference = float(np.abs(probabilities - calibrator(logits.astype(np.float64))).max())
    if not difference <= MAX_DIFFERENCE:
        raise ExportMismatch(difference=difference, limit=MAX_DIFFERENCE, images=len(images))
    return mapped, difference


def _divides(node: onnx.NodeProto) -> bool:
    return node.op_type == "Div" and TEMPERATURE in node.input
