"""The ONNX graph's contract: `image` uint8 [N, C, H, W] in, `probabilities` float32 [N, K] out.

A graph with a scope check also has the outputs `scope_score` and `scope_p`, float32 [N].

The graph itself divides by the initializer `temperature` [1] and applies the softmax. So every
runtime gives the same calibrated probabilities. Recalibrating edits that float, and may add one
weight and one bias per class before the softmax.

With findings, each column is independent: sigmoid(logits / `temperature` [K] + `class_bias` [K]).
The metadata property `findings` has their names as a JSON list.
"""

import json
from collections.abc import Sequence

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from calibration.wording import parameter
from model_store.bundle.card import Card, Initializers
from model_store.bundle.data_dependence import data_dependence
from model_store.bundle.graph_part import GraphPart, insert, operators_beyond, tensors_of
from model_store.bundle.scope import SCOPE_P, SCOPE_SCORE, scope_problem

INPUT, OUTPUT = "image", "probabilities"
STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
TEMPERATURE, CLASS_WEIGHT, CLASS_BIAS = "temperature", "class_weight", "class_bias"
FINDINGS = "findings"  # the property of the metadata


def check_graph(model: bytes, card: Card) -> str | None:
    """Return what is wrong with the graph, or None if it keeps the contract and fits the card."""
    try:
        proto = onnx.load_model_from_string(model)
    except DecodeError:
        return "model.onnx is not an ONNX file"
    graph = proto.graph
    if any(tensor.external_data for tensor in tensors_of(proto)):
        return "model.onnx keeps weights in another file; export it with external_data=False"
    size = (card.input.channels, card.input.height, card.input.width)
    answers = [each for each in graph.output if each.name not in (SCOPE_SCORE, SCOPE_P)]
    return (
        _check_tensor("input", graph.input, INPUT, TensorProto.UINT8, size)
        or scope_problem(graph, card.scope.flagged.n if card.scope else None)
        or _check_tensor("output", answers, OUTPUT, TensorProto.FLOAT, (len(card.classes),))
        or _check_calibrator(graph, card.initializers)
        or _check_operators(proto)
        or _check_onnx(model)
        or _check_dependence(proto, card)
    )


def with_calibrator(
    model: bytes,
    *,
    temperature: float | Sequence[float],
    class_bias: Sequence[float] | None = None,
    class_weight: Sequence[float] | None = None,
) -> bytes:
    """Return the same graph with another calibrator; of findings, all numbers are (K,).

    `class_bias` (K,) is added to the logits after their division by the temperature. With
    `class_weight` (K,) the log-softmax of the logits is multiplied by it first, which removes the
    constant that a row may carry. Both become initializers of these names, inserted before the last
    softmax if the graph has none yet.

    Raises ValueError: the graph has no initializer `temperature`, or a bias is to be inserted and
    it does not end in a softmax; a temperature that is not positive; numbers that are not finite in
    float32.
    """
    proto = onnx.load_model_from_string(model)
    if _find(proto.graph, TEMPERATURE) is None:
        raise ValueError("the graph has no initializer named 'temperature'")
    with np.errstate(over="ignore"):
        temperatures = np.atleast_1d(np.asarray(temperature, np.float32))
    if not ((temperatures > 0) & (temperatures < np.inf)).all():
        raise ValueError(f"a temperature must be positive and finite; got {temperature}")
    _set(proto.graph, TEMPERATURE, temperatures.tolist())
    if class_bias is not None:
        if _find(proto.graph, CLASS_BIAS) is None:
            _insert(proto.graph, weighted=class_weight is not None)
        _set(proto.graph, CLASS_BIAS, class_bias)
    if class_weight is not None:
        _set(proto.graph, CLASS_WEIGHT, class_weight)
    return bytes(proto.SerializeToString(deterministic=True))


def findings_end(part: GraphPart, logits: str, count: int) -> list[onnx.TensorProto]:
    """Append the end of a graph of `count` findings to `part`; return its initializers.

    They are those of uncalibrated logits (N, K): temperatures of 1 and biases of 0.
    """
    cooled = part.add("Div", logits, TEMPERATURE)
    part.add("Sigmoid", part.add("Add", cooled, CLASS_BIAS), output=OUTPUT)
    return [
        numpy_helper.from_array(np.full(count, value, np.float32), name)
        for name, value in ((TEMPERATURE, 1), (CLASS_BIAS, 0))
    ]


def name_findings(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Write the names of the findings into the metadata of a graph."""
    props = {each.key: each.value for each in model.metadata_props}
    helper.set_model_props(model, props | {FINDINGS: json.dumps(list(names))})


def logits_name(model: bytes) -> str:
    """Return the tensor that is divided by the temperature: the logits, or a calibrator's.

    Raises ValueError: the graph does not divide by an initializer `temperature`.
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
    """Return the graph with logits times `weight` (K,) plus `bias` (K,), before the division.

    Raises ValueError: the graph does not divide by an initializer `temperature`.
    """
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    place, part = division_place(graph), GraphPart("vector_")
    division = graph.node[place]
    scaled = part.add("Mul", division.input[0], "vector_weight")
    division.input[0] = part.add("Add", scaled, "vector_bias")
    insert(graph, place, part)
    _set(graph, "vector_weight", weight)
    _set(graph, "vector_bias", bias)
    return bytes(proto.SerializeToString(deterministic=True))


def _set(graph: onnx.GraphProto, name: str, values: Sequence[float]) -> None:
    with np.errstate(over="ignore"):
        array = np.array(values, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite in float32; got {list(values)}")
    tensor = _find(graph, name) or graph.initializer.add()
    tensor.CopyFrom(numpy_helper.from_array(array, name))


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
    logits, part = softmax.input[0], GraphPart("calibrator_bias_")
    if weighted:
        logits = part.add("Mul", part.add("LogSoftmax", logits, axis=-1), CLASS_WEIGHT)
    softmax.input[0] = part.add("Add", logits, CLASS_BIAS)
    insert(graph, place, part)


def _find(graph: onnx.GraphProto, name: str) -> onnx.TensorProto | None:
    return next((tensor for tensor in graph.initializer if tensor.name == name), None)


def _check_calibrator(graph: onnx.GraphProto, expected: Initializers) -> str | None:
    """Compare the initializers of the calibrator with the card."""
    for name, values in expected._asdict().items():
        initializer = _find(graph, name)
        if initializer is None and values is None:
            continue
        if initializer is None:
            return f"model.onnx has no initializer named '{name}'"
        try:
            array = numpy_helper.to_array(initializer)
        except (TypeError, ValueError) as error:
            return f"model.onnx has a damaged {name} ({error})"
        said = None if values is None else list(values) if len(values) > 1 else values[0]
        if (
            values is None
            or array.dtype != np.float32
            or array.shape != (len(values),)
            or not np.allclose(array, values, rtol=1e-5, atol=0)
        ):
            return (
                f"model.onnx has {name} {array.tolist()} ({array.dtype}), the card says {said} "
                "(float32)"
            )
    return None


def _check_operators(proto: onnx.ModelProto) -> str | None:
    """Refuse operators that ONNX does not define: another runtime may lack them."""
    if custom := ", ".join(operators_beyond(proto, STANDARD_DOMAINS)):
        return (
            f"model.onnx has operators outside of the ONNX standard: {custom}; export it with "
            "standard operators only"
        )
    return None


def _check_onnx(model: bytes) -> str | None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        return f"model.onnx is no valid ONNX graph: {str(error).strip().splitlines()[0]}"
    return None


def _check_dependence(proto: onnx.ModelProto, card: Card) -> str | None:
    """Refuse graphs whose work depends on pixels, unless a person trusted the maker."""
    imported = card.provenance.imported
    if (imported and imported.trusted) or not (found := data_dependence(proto)):
        return None
    return (
        f"model.onnx has an operator whose work depends on the pixels of an image: {found}; import "
        f"it again with {parameter('trusted', True)} if you trust who made it"
    )


def _check_tensor(
    kind: str, values: Sequence[onnx.ValueInfoProto], name: str, dtype: int, size: tuple[int, ...]
) -> str | None:
    """Compare one input or output with what is expected; the batch must be free."""
    shown = f"{TensorProto.DataType.Name(dtype).lower()} [N, {', '.join(map(str, size))}]"
    if len(values) == 1 and values[0].name == name:
        tensor = values[0].type.tensor_type
        batch, *fixed = [each.dim_value for each in tensor.shape.dim] or [1]
        if tensor.elem_type == dtype and not batch and tuple(fixed) == size:
            return None
    given = ", ".join(_describe(value) for value in values) or "none"
    return f"model.onnx must have one {kind} '{name}' {shown}; it has {given}"


def _describe(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dimensions = ", ".join(d.dim_param or str(d.dim_value or "?") for d in tensor.shape.dim)
    return f"'{value.name}' {TensorProto.DataType.Name(tensor.elem_type).lower()} [{dimensions}]"
