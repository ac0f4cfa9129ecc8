"""Graphs from before opset 7, of 2017 and 2018, raised to opset 7 so that ONNX Runtime runs them.

Until then broadcasting was asked for by attributes, and training was an attribute too. onnx's own
converter moves the axis of a broadcast to the wrong place, and knows no step from opset 1. Source:
Changelog.md of ONNX.
"""

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_store.foreign.errors import ForeignModelRefused
from model_store.foreign.surgery import constant_shape

RAISED_OPSET: Final = 7
_BROADCAST: Final = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less", "PRelu"}
)
_GONE: Final = {  # attributes without a meaning when a trained graph is run
    "BatchNormalization": ("is_test", "consumed_inputs", "spatial"),
    "Dropout": ("is_test", "consumed_inputs"),
    "Gemm": ("broadcast",),
}
_PADS: Final = {"Pad": "paddings"}


def raised_to_7(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in opset 7. Raises ForeignModelRefused for what has no equal there."""
    raised = onnx.ModelProto()
    raised.CopyFrom(model)
    graph = raised.graph
    ranks = _ranks(model)
    for node in graph.node:
        if not node.output:
            continue
        _raise_node(raised, node, ranks)
    for each in raised.opset_import:
        if each.domain in ("", "ai.onnx"):
            each.version = RAISED_OPSET
    return raised


def _raise_node(model: onnx.ModelProto, node: onnx.NodeProto, ranks: dict[str, int]) -> None:
    said = {each.name: each for each in node.attribute}
    gone = {"consumed_inputs", *_GONE.get(node.op_type, ())}
    if node.op_type in _BROADCAST:
        if "axis" in said and said["axis"].i >= 0 and len(node.input) > 1:
            _align(model, node, said["axis"].i, ranks)
        gone |= {"broadcast", "axis"}
    if node.op_type == "Concat" and "axis" not in said:
        node.attribute.append(helper.make_attribute("axis", 1))
    if node.op_type == "Cast" and "to" in said and said["to"].s:
        gone.add("to")
        node.attribute.append(
            helper.make_attribute("to", TensorProto.DataType.Value(said["to"].s.decode()))
        )
    if node.op_type == "Reshape" and "shape" in said:
        gone.add("shape")
        name = f"model/shape_of_{node.output[0]}"
        model.graph.initializer.append(
            numpy_helper.from_array(np.array(said["shape"].ints, np.int64), name)
        )
        node.input.append(name)
    if node.op_type in _PADS and _PADS[node.op_type] in said:
        said[_PADS[node.op_type]].name = "pads"
    kept = [each for each in node.attribute if not (each.name in gone and not _is_new(node, each))]
    copies = [onnx.AttributeProto.FromString(each.SerializeToString()) for each in kept]
    del node.attribute[:]
    node.attribute.extend(copies)


def _is_new(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> bool:
    """Whether an attribute of an old name was just added with its new meaning."""
    return node.op_type == "Cast" and attribute.name == "to" and not attribute.s


def _align(model: onnx.ModelProto, node: onnx.NodeProto, axis: int, ranks: dict[str, int]) -> None:
    """Give the second operand trailing dimensions of 1, so that it meets `axis` of the first."""
    shape, rank = constant_shape(model, node.input[1]), ranks.get(node.input[0])
    if shape is None or rank is None:
        raise ForeignModelRefused(
            f"it is older than opset {RAISED_OPSET} and its {node.op_type} broadcasts in a way "
            "that cannot be "
            "converted: export it "
            "again with opset 13 or later"
        )
    trailing = rank - axis - len(shape)
    if trailing <= 0:
        return
    name = f"model/aligned_{node.output[0]}"
    tensor = next((each for each in model.graph.initializer if each.name == node.input[1]), None)
    if tensor is None:
        raise ForeignModelRefused(
            f"it is older than opset {RAISED_OPSET} and cannot be converted: export it again with "
            "opset 13"
        )
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    copy.dims.extend([1] * trailing)
    model.graph.initializer.append(copy)
    node.input[1] = name


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """How many dimensions each tensor has, as far as onnx can tell."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # noqa: BLE001 - onnx raises whatever its C++ part happens to raise
        graph = model.graph
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
