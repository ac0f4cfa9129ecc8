"""The scope check at the end of a graph: features [N, D] in, `scope_score` and `scope_p` [N] out.

Features are those that the network shows, if any, and statistics of the image. The score is a
squared distance, |(features - center) whitening|^2. It is compared with those of the calibration
images, to which infinity is added: the share that is larger is then the conformal p-value
(1 + c) / (n + 1). The stored scores are raised by one in a thousand, more than runtimes differ, so
that an equal image always has an equal p-value; that makes p-values larger, never smaller.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_store.bundle.graph_part import GraphPart, insert
from model_store.bundle.scope_statistics import add_statistics

SCOPE_FEATURES: Final = "scope_features"
SCOPE_SCORE: Final = "scope_score"
SCOPE_P: Final = "scope_p"
SCOPE_VECTOR: Final = "scope_vector"  # inside the graph: its squared length is the score
WHITENING, SHIFT, CALIBRATION = "scope_whitening", "scope_shift", "scope_calibration"
TOLERANCE: Final = 1e-3  # relative, of a score
STEEP: Final = 1e20  # a difference of scores that float32 tells becomes 1 or more
REDUCTION_OPSET: Final = 18  # from which on a reduction takes its axes as an input


@dataclass(frozen=True)
class ScopeParameters:
    """`center` (D,), `whitening` (D, R), and the scores of the calibration images, (n,)."""

    center: npt.NDArray[np.float32]
    whitening: npt.NDArray[np.float32]
    calibration: npt.NDArray[np.float32]

    def vectors(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the vectors (N, R) of features (N, D), as the graph computes them."""
        return np.asarray((features - self.center) @ self.whitening, np.float32)

    def scores(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the scores (N,) of features (N, D): the squared lengths of their vectors."""
        return np.asarray((self.vectors(features) ** 2).sum(axis=1), np.float32)


def with_scope(model: bytes, parameters: ScopeParameters) -> bytes:
    """Return the graph with the scope check, in place of its output `scope_features` if it has
    one.
    """
    proto = onnx.load_model_from_string(model)
    graph, part = proto.graph, GraphPart("scope_")
    features = _features(graph, part)
    white = part.add("Gemm", features, WHITENING, SHIFT, output=SCOPE_VECTOR)
    column = reduced(proto, part, "ReduceSumSquare", white, axes=[1], keepdims=1)
    part.add("Reshape", column, np.array([-1]), output=SCOPE_SCORE)
    # 1 or 0, in half the time of Greater and Cast; ONNX Runtime makes one node of these two
    less = np.full((1, len(parameters.calibration) + 1), -1, np.float32)
    above = part.add("Gemm", column, less, CALIBRATION)
    larger = part.add("HardSigmoid", above, alpha=STEEP, beta=0.0)
    reduced(proto, part, "ReduceMean", larger, axes=[1], keepdims=0, output=SCOPE_P)
    raised = np.append(parameters.calibration * np.float32(1 + TOLERANCE), np.float32(np.inf))
    for name, value in (
        (WHITENING, parameters.whitening),
        (SHIFT, -(parameters.center.astype(np.float64) @ parameters.whitening)),
        (CALIBRATION, raised),
    ):
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    insert(graph, len(graph.node), part)
    _drop_output(graph)
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])
        for name in (SCOPE_SCORE, SCOPE_P)
    )
    return bytes(proto.SerializeToString(deterministic=True))


def _features(graph: onnx.GraphProto, part: GraphPart) -> str:
    image = graph.input[0]
    size = [each.dim_value for each in image.type.tensor_type.shape.dim[1:]]
    shown = [each.name for each in graph.output if each.name == SCOPE_FEATURES]
    return part.add("Concat", *shown, *add_statistics(part, image.name, *size), axis=1)


def reduced(
    model: onnx.ModelProto,
    part: GraphPart,
    operator: str,
    tensor: str,
    *,
    axes: list[int],
    keepdims: int,
    output: str | None = None,
) -> str:
    """Append a reduction as the model's opset defines it; return the name of its output."""
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < REDUCTION_OPSET:
        return part.add(operator, tensor, output=output, axes=axes, keepdims=keepdims)
    return part.add(operator, tensor, np.array(axes), output=output, keepdims=keepdims)


def scope_problem(graph: onnx.GraphProto, n: int | None) -> str | None:
    """Return what is wrong with the scope check of a graph, of `n` images, or None without one."""
    found = [each for each in graph.output if each.name in (SCOPE_SCORE, SCOPE_P)]
    if n is None:
        return "model.onnx has a scope check and the card has none" if found else None
    if [each.name for each in found] != [SCOPE_SCORE, SCOPE_P] or not all(map(_per_image, found)):
        return f"model.onnx must have outputs '{SCOPE_SCORE}' and '{SCOPE_P}' float [N]"
    images: Any = next((each for each in graph.initializer if each.name == CALIBRATION), None)
    if images is None or list(images.dims) != [n + 1]:
        return f"model.onnx must have an initializer '{CALIBRATION}' of the card's {n} images"
    return None


def _per_image(value: onnx.ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    sizes = [each.dim_value for each in tensor.shape.dim]
    return tensor.elem_type == TensorProto.FLOAT and sizes == [0]


def _drop_output(graph: onnx.GraphProto) -> None:
    kept = [each for each in graph.output if each.name != SCOPE_FEATURES]
    del graph.output[:]
    graph.output.extend(kept)
