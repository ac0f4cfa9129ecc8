"""The contract of the ONNX graph: `image` uint8 [N, C, H, W] in, `probabilities` float32 [N, K]
out.

The graph itself divides by the initializer `temperature` [1] and applies the softmax. So every
runtime gives the same calibrated probabilities. Recalibrating edits that float, and may add one
weight and one bias per class before the softmax.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from model_store.bundle.card import CalibrationCard, Card

INPUT, OUTPUT = "image", "probabilities"
STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
TEMPERATURE, CLASS_WEIGHT, CLASS_BIAS = "temperature", "class_weight", "class_bias"


def check_graph(model: bytes, card: Card) -> str | None:
    """Return what is wrong with the graph, or None if it keeps the contract and fits the card."""
    try:
        proto = onnx.load_model_from_string(model)
    except DecodeError:
        return "model.onnx is not an ONNX file"
    graph = proto.graph
    nodes = list(chain(graph.node, *(function.node for function in proto.functions)))
    if any(tensor.external_data for tensor in chain(graph.initializer, _constants(nodes))):
        return "model.onnx keeps weights in another file; export it with external_data=False"
    size = (card.input.channels, card.input.height, card.input.width)
    return (
        _check_tensor("input", graph.input, INPUT, TensorProto.UINT8, size)
        or _check_tensor("output", graph.output, OUTPUT, TensorProto.FLOAT, (len(card.classes),))
        or _check_calibrator(graph, card.calibration)
        or _check_operators(proto, nodes)
        or _check_onnx(model)
    )


def with_calibrator(
    model: bytes,
    *,
    temperature: float,
    class_bias: Sequence[float] | None = None,
    class_weight: Sequence[float] | None = None,
) -> bytes:
    """Return the same graph with another calibrator.

    `class_bias` (K,) is added to the logits after their division by the temperature. With
    `class_weight` (K,) the log-softmax of the logits is multiplied by it first, which removes the
    constant that a row may carry. Both become initializers of these names, inserted before the last
    softmax if the graph has none yet.

    Raises:
        ValueError: the graph has no initializer `temperature`, or a bias is to be inserted and it
            does not end in a softmax; a temperature that is not positive; numbers that are not
            finite in float32.
    """
    proto = onnx.load_model_from_string(model)
    if _find(proto.graph, TEMPERATURE) is None:
        raise ValueError("the graph has no initializer named 'temperature'")
    with np.errstate(over="ignore"):
        if not 0 < np.float32(temperature) < np.inf:
            raise ValueError(f"a temperature must be positive and finite; got {temperature}")
    _set(proto.graph, TEMPERATURE, [temperature])
    if class_bias is not None:
        if _find(proto.graph, CLASS_BIAS) is None:
            _insert(proto.graph, weighted=class_weight is not None)
        _set(proto.graph, CLASS_BIAS, class_bias)
    if class_weight is not None:
        _set(proto.graph, CLASS_WEIGHT, class_weight)
    return bytes(proto.SerializeToString(deterministic=True))


def logits_name(model: bytes) -> str:
    """Return the tensor that the graph divides by its temperature: the logits, where no calibrator
    comes before.

    Raises:
        ValueError: the graph does not divide by an initializer `temperature`.
    """
    graph = onnx.load_model_from_string(model).graph
    return graph.node[division_place(graph)].input[0]


def division_place(graph: onnx.GraphProto) -> int:
    """Return the index of the node that divides by the temperature. Raises ValueError."""
    for place, node in enumerate(graph.node):
        if node.op_type == "Div" and TEMPERATURE in node.input:
            return place
    raise ValueError("the graph does not divide by an initializer named 'temperature'")


def with_logits(model: bytes, name: str) -> bytes:
    """Return the graph with `name`, float32 [N, K], as a second output, for measuring alone."""
    proto = onnx.load_model_from_string(model)
    proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return bytes(proto.SerializeToString())


def with_vector(model: bytes, *, weight: Sequence[float], bias: Sequence[float]) -> bytes:
    """Return the graph with logits times `weight` (K,) plus `bias` (K,) before the division by the
    temperature.

    Raises:
        ValueError: the graph does not divide by an initializer `temperature`.
    """
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    place = division_place(graph)
    division = graph.node[place]
    scaling = helper.make_node(
        "Mul", [division.input[0], "vector_weight"], ["vector_scaled"], name="vector_scaling"
    )
    shift = helper.make_node(
        "Add", ["vector_scaled", "vector_bias"], ["vector_shifted"], name="vector_shift"
    )
    division.input[0] = "vector_shifted"
    graph.node.insert(place, shift)
    graph.node.insert(place, scaling)
    _set(graph, "vector_weight", weight)
    _set(graph, "vector_bias", bias)
    return bytes(proto.SerializeToString(deterministic=True))


def _set(graph: onnx.GraphProto, name: str, values: Sequence[float]) -> None:
    with np.errstate(over="ignore"):
        array = np.array(values, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite in float32; got {list(values)}")
    known = _find(graph, name) or graph.initializer.add()
    known.CopyFrom(numpy_helper.from_array(array, name))


def _insert(graph: onnx.GraphProto, *, weighted: bool) -> None:
    """Put the nodes of a class bias, and of a class weight, before the last softmax."""
    place, softmax = next(
        ((place, node) for place, node in enumerate(graph.node) if list(node.output) == [OUTPUT]),
        (0, None),
    )
    if softmax is None or softmax.op_type != "Softmax":
        raise ValueError(
            "the graph does not end in a Softmax, so no class bias can be inserted before it"
        )
    logits, nodes = softmax.input[0], []
    if weighted:
        log_softmax = helper.make_node(
            "LogSoftmax", [logits], ["calibrator_log_probabilities"], axis=-1
        )
        scaled = helper.make_node(
            "Mul", ["calibrator_log_probabilities", CLASS_WEIGHT], ["calibrator_weighted"]
        )
        nodes, logits = [log_softmax, scaled], "calibrator_weighted"
    nodes.append(helper.make_node("Add", [logits, CLASS_BIAS], ["calibrator_biased"]))
    softmax.input[0] = "calibrator_biased"
    for offset, node in enumerate(nodes):
        graph.node.insert(place + offset, node)


def _find(graph: onnx.GraphProto, name: str) -> onnx.TensorProto | None:
    return next((tensor for tensor in graph.initializer if tensor.name == name), None)


def _check_calibrator(graph: onnx.GraphProto, calibration: CalibrationCard) -> str | None:
    """Compare the initializers of the calibrator with the card."""
    expected = {
        TEMPERATURE: (calibration.temperature,),
        CLASS_WEIGHT: calibration.class_weight,
        CLASS_BIAS: calibration.class_bias,
    }
    for name, values in expected.items():
        initializer = _find(graph, name)
        if initializer is None and values is None:
            continue
        if initializer is None:
            return f"model.onnx has no initializer named '{name}'"
        try:
            found = numpy_helper.to_array(initializer)
        except (TypeError, ValueError) as error:
            return f"model.onnx has a damaged {name} ({error})"
        said = None if values is None else list(values) if len(values) > 1 else values[0]
        if (
            values is None
            or found.dtype != np.float32
            or found.shape != (len(values),)
            or not np.allclose(found, values, rtol=1e-5, atol=0)
        ):
            return (
                f"model.onnx has {name} {found.tolist()} ({found.dtype}), the card says {said} "
                "(float32)"
            )
    return None


def _check_operators(proto: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> str | None:
    """Refuse operators that ONNX does not define: another runtime may lack them."""
    own = {(function.domain, function.name) for function in proto.functions}
    custom = sorted(
        f"{node.domain}.{node.op_type}"
        for node in _with_inner(nodes)
        if node.domain not in STANDARD_DOMAINS and (node.domain, node.op_type) not in own
    )
    if not custom:
        return None
    named = ", ".join(dict.fromkeys(custom))
    return (
        f"model.onnx has operators outside of the ONNX standard: {named}; export it with standard "
        "operators only"
    )


def _check_onnx(model: bytes) -> str | None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        return f"model.onnx is no valid ONNX graph: {str(error).strip().splitlines()[0]}"
    return None


def _with_inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Give the nodes, and those inside the branches and bodies of If, Loop and Scan."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _with_inner(inner.node)


def _constants(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    """Give every tensor that is an attribute of a node, also inside If, Loop and Scan."""
    for attribute in (attribute for node in _with_inner(nodes) for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            yield from inner.initializer


def _check_tensor(
    kind: str, values: Sequence[onnx.ValueInfoProto], name: str, dtype: int, size: tuple[int, ...]
) -> str | None:
    """Compare one input or output with what is expected; the batch must be free."""
    expected = (
        f"one {kind} '{name}' {TensorProto.DataType.Name(dtype).lower()} [N, "
        f"{', '.join(map(str, size))}]"
    )
    found = ", ".join(_describe(value) for value in values) or "none"
    tensor = values[0].type.tensor_type if len(values) == 1 else None
    if tensor is None or values[0].name != name or tensor.elem_type != dtype:
        return f"model.onnx must have {expected}; it has {found}"
    dimensions = list(tensor.shape.dim)
    fixed = tuple(dimension.dim_value for dimension in dimensions[1:])
    if fixed != size or not dimensions or dimensions[0].dim_value:
        return f"model.onnx must have {expected}; it has {found}"
    return None


def _describe(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dimensions = ", ".join(d.dim_param or str(d.dim_value or "?") for d in tensor.shape.dim)
    return f"'{value.name}' {TensorProto.DataType.Name(tensor.elem_type).lower()} [{dimensions}]"
