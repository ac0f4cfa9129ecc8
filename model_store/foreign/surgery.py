"""Operations on a graph that do not depend on what it computes: cut, rename, walk."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import onnx

Producers = dict[str, onnx.NodeProto]

CASTING: Final = frozenset({"Cast", "Dropout", "Identity", "QuantizeLinear", "DequantizeLinear"})
ELEMENTWISE: Final = frozenset({"Add", "Sub", "Mul", "Div"})
# Operators behind which the same numbers stand in the same order, if all dimensions but one are 1.
SAME_ORDER: Final = CASTING | {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}


def producers(graph: onnx.GraphProto) -> Producers:
    """Map each tensor to the node that makes it."""
    return {name: node for node in graph.node for name in node.output if name}


def real_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that a caller must give; old files list weights among them."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {each.values.name for each in graph.sparse_initializer}
    return [each for each in graph.input if each.name not in constants]


def cut_to(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Return a copy with these outputs and only what they need."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    graph = cut.graph
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_read_by(node))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
    _replace(graph.node, nodes)
    _replace(graph.input, [each for each in real_inputs(graph) if each.name in needed])
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    del graph.output[:], graph.value_info[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return cut


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Give every tensor that a node reads, also inside its bodies."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            yield from (value.name for value in inner.output)
            for below in inner.node:
                yield from _read_by(below)


def _replace(field: Any, values: Sequence[object]) -> None:
    del field[:]
    field.extend(values)


def rename(graph: onnx.GraphProto, new: Callable[[str], str]) -> None:
    """Rename every tensor, in the bodies of If, Loop and Scan too."""
    named: list[Any] = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for value in (*named, *(each.values for each in graph.sparse_initializer)):
        value.name = new(value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new(name) for name in names]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.output:
                    rename(inner, new)


def behind(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto | None:
    """Return the node that computes a tensor's numbers, past SAME_ORDER."""
    made_by = producers(model.graph)
    node = made_by.get(tensor)
    while node is not None and node.op_type in SAME_ORDER:
        node = made_by.get(first_input(node))
    return node


def first_input(node: onnx.NodeProto) -> str:
    """Return the first input of a node, "" if it has none."""
    return next(iter(node.input), "")


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto | None:
    """Return the value of an initializer, a Constant, or a cast of one."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return tensor
    node = producers(model.graph).get(name)
    if node is None:
        return None
    if node.op_type == "Constant":
        return next((each.t for each in node.attribute if each.name == "value"), None)
    if node.op_type in ("Identity", "Cast", "DequantizeLinear", "Unsqueeze", "Squeeze"):
        return constant(model, first_input(node))
    return None
