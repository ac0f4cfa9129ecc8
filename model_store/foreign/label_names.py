"""Class names that a graph itself gives to its scores: in a classifier of ai.onnx.ml, its ZipMap,
or in the operators that name the largest score.
"""

from collections.abc import Iterable

import onnx
from onnx import TensorProto

from model_store.foreign.surgery import SAME_ORDER, behind, constant, first_input, producers


def zipped_labels(node: onnx.NodeProto) -> tuple[str, ...]:
    """Return the names in a node's attributes."""
    for attribute in node.attribute:
        if attribute.name == "classlabels_strings" and attribute.strings:
            return _decoded(attribute.strings)
        if attribute.name == "classlabels_int64s" and attribute.ints:
            return tuple(str(each) for each in attribute.ints)
    return ()


def sibling_labels(model: onnx.ModelProto, tensor: str) -> tuple[str, ...] | None:
    """Return the names of the scores in `tensor`, None if the graph has none."""
    made_by = producers(model.graph)
    node = made_by.get(tensor)
    while node is not None and node.domain != "ai.onnx.ml" and node.op_type in SAME_ORDER:
        node = made_by.get(first_input(node))
    if node is None or node.domain != "ai.onnx.ml":
        return _labels_of_largest(model, tensor)
    return zipped_labels(node) or None


def _labels_of_largest(model: onnx.ModelProto, tensor: str) -> tuple[str, ...] | None:
    last = behind(model, tensor)
    scores = {tensor, *(last.input if last is not None else ())}
    for node in model.graph.node:
        names, number = _named_numbers(model, node)
        largest = behind(model, number) if names else None
        if largest is not None and largest.op_type == "ArgMax" and first_input(largest) in scores:
            return names
    return None


def _named_numbers(model: onnx.ModelProto, node: onnx.NodeProto) -> tuple[tuple[str, ...], str]:
    """Return the names that a node gives to 0, 1 and so on, and the tensor of these numbers."""
    if node.op_type == "Gather":
        names = constant(model, first_input(node))
        if names is not None and names.data_type == TensorProto.STRING:
            return _decoded(names.string_data), node.input[1]
    if node.op_type == "LabelEncoder":
        given = {each.name: each for each in node.attribute}
        keys = given.get("keys_int64s", onnx.AttributeProto()).ints
        values = given.get("values_strings", onnx.AttributeProto()).strings
        if len(keys) == len(values) and sorted(keys) == [*range(len(keys))]:
            ordered = [value for _, value in sorted(zip(keys, values, strict=True))]
            return _decoded(ordered), first_input(node)
    return (), ""


def _decoded(names: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(each.decode("utf-8", "replace") for each in names)
