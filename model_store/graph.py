"""The contract of the ONNX graph: `image` uint8 [N, C, H, W] in, `probabilities` float32 [N, K] out.

The graph itself divides by the initializer `temperature` [1] and applies the softmax. So every runtime gives the same
calibrated probabilities, and recalibrating edits one float.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper

from model_store.card import Card

INPUT, OUTPUT, TEMPERATURE = "image", "probabilities", "temperature"


def check_graph(model: bytes, card: Card) -> str | None:
    """Return a clause that says what is wrong with the graph, or None if it keeps the contract and matches the card."""
    try:
        proto = onnx.load_model_from_string(model)
    except DecodeError:
        return "model.onnx is not an ONNX file"
    graph = proto.graph
    nodes = chain(graph.node, *(function.node for function in proto.functions))
    if any(tensor.external_data for tensor in chain(graph.initializer, _constants(nodes))):
        return "model.onnx keeps weights in another file; export it with external_data=False"
    size = (card.input.channels, card.input.height, card.input.width)
    return (
        _check_tensor("input", graph.input, INPUT, TensorProto.UINT8, size)
        or _check_tensor("output", graph.output, OUTPUT, TensorProto.FLOAT, (len(card.classes),))
        or _check_temperature(graph, card.calibration.temperature)
    )


def with_temperature(model: bytes, temperature: float) -> bytes:
    """Return the same graph with another temperature.

    Raises:
        ValueError: the graph has no such initializer, or the temperature is not positive and finite in float32.
    """
    with np.errstate(over="ignore"):
        value = np.array([temperature], dtype=np.float32)
    if not (np.isfinite(value[0]) and value[0] > 0):
        raise ValueError(f"a temperature must be positive and finite; got {temperature}")
    proto = onnx.load_model_from_string(model)
    initializer = _find_temperature(proto.graph)
    if initializer is None:
        raise ValueError("the graph has no initializer named 'temperature'")
    initializer.CopyFrom(numpy_helper.from_array(value, TEMPERATURE))
    return bytes(proto.SerializeToString())


def _find_temperature(graph: onnx.GraphProto) -> onnx.TensorProto | None:
    return next((tensor for tensor in graph.initializer if tensor.name == TEMPERATURE), None)


def _check_temperature(graph: onnx.GraphProto, expected: float) -> str | None:
    initializer = _find_temperature(graph)
    if initializer is None:
        return "model.onnx has no initializer named 'temperature'"
    try:
        value = numpy_helper.to_array(initializer)
    except (TypeError, ValueError) as error:
        return f"model.onnx has a damaged temperature ({error})"
    if value.dtype != np.float32 or value.shape != (1,) or not np.isclose(value[0], expected, rtol=1e-5):
        return f"model.onnx has temperature {value.tolist()} ({value.dtype}), the card says {expected} (float32)"
    return None


def _constants(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    """Give every tensor that is an attribute of a node, also inside the branches and bodies of If, Loop and Scan."""
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            yield from chain(inner.initializer, _constants(inner.node))


def _check_tensor(
    kind: str, values: Sequence[onnx.ValueInfoProto], name: str, dtype: int, size: tuple[int, ...]
) -> str | None:
    """Compare one input or output with what is expected. Its first dimension, the batch, must be free."""
    expected = f"one {kind} '{name}' {TensorProto.DataType.Name(dtype).lower()} [N, {', '.join(map(str, size))}]"
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
