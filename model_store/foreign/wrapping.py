"""One graph that keeps Candor's contract: `image` uint8 in, `probabilities` out, `temperature` an
initializer.

Built in two steps: the foreign graph reduced to logits for any number of images, then preprocessing
in front of it, and temperature and softmax behind it. Every operator that is added has meant the
same since opset 7.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from model_store.bundle.graph import CLASS_BIAS, CLASS_WEIGHT, INPUT, OUTPUT, TEMPERATURE
from model_store.errors import ForeignModelRefused
from model_store.foreign.class_scores import ClassScores, Kind, floor_of
from model_store.foreign.image_input import UNBATCHED, ImageInput
from model_store.foreign.preprocessing import Preprocessing
from model_store.foreign.surgery import cut_to, rename

LOGITS, NATIVE = "candor/logits", "candor/native"
_BATCH = "candor/batch"  # the foreign input inside a Scan
OLDEST_OPSET, SCAN_OPSET, CONVERTED_OPSET = 7, 9, 13
IR_VERSION = 8  # constants need not be listed among the inputs
_RESERVED = frozenset({INPUT, OUTPUT, TEMPERATURE, CLASS_BIAS, CLASS_WEIGHT})


@dataclass(frozen=True)
class LogitsGraph:
    """A foreign graph that maps its own input, [N, ...] under the name NATIVE, to LOGITS float32
    [N, K].

    `one_by_one`: it takes a fixed number of images, so a Scan runs it for each image by itself.
    """

    model: onnx.ModelProto
    image: ImageInput
    scores: ClassScores
    one_by_one: bool

    @property
    def serialized(self) -> bytes:
        """The bytes of the graph."""
        return bytes(self.model.SerializeToString())


def logits_graph(
    model: onnx.ModelProto, image: ImageInput, scores: ClassScores, *, one_by_one: bool
) -> LogitsGraph:
    """Reduce a foreign graph to its logits. Raises ForeignModelRefused."""
    cut = raised(cut_to(model, [scores.tensor]), SCAN_OPSET if one_by_one else OLDEST_OPSET)
    graph = cut.graph
    names = {image.name: _BATCH if one_by_one else NATIVE}
    rename(graph, lambda name: names.get(name) or _free(name))
    tensor = names.get(scores.tensor) or _free(scores.tensor)
    per_image = 1 if scores.kind.startswith("binary") else scores.count
    rows = (
        _scanned(graph, image, tensor, per_image)
        if one_by_one
        else _reshaped(graph, tensor, [-1, per_image])
    )
    _append_logits(graph, rows, scores.kind_after_cut, scores.count)
    _declare(graph, image, scores.count)
    cut.ir_version = min(max(cut.ir_version, IR_VERSION), 10)
    return LogitsGraph(cut, image, scores, one_by_one)


def wrap(core: LogitsGraph, preprocessing: Preprocessing, *, temperature: float = 1.0) -> bytes:
    """Return the bundle's graph."""
    model = onnx.ModelProto()
    model.CopyFrom(core.model)
    graph = model.graph
    before, constants, last = preprocessing.nodes(INPUT, core.image)
    before[-1].output[0] = NATIVE  # there is at least a cast
    del last
    after = [
        helper.make_node("Div", [LOGITS, TEMPERATURE], ["candor/cooled"]),
        helper.make_node("Softmax", ["candor/cooled"], [OUTPUT], axis=1),
    ]
    nodes = [*before, *graph.node, *after]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(copies)
    graph.initializer.extend(
        [*constants, numpy_helper.from_array(np.array([temperature], np.float32), TEMPERATURE)]
    )
    size = preprocessing.decoded_size(core.image)
    graph.input.append(_value(INPUT, TensorProto.UINT8, (core.image.channels, *size)))
    graph.output.append(_value(OUTPUT, TensorProto.FLOAT, (core.scores.count,)))
    return bytes(model.SerializeToString())


def raised(model: onnx.ModelProto, oldest: int) -> onnx.ModelProto:
    """Return the model with an opset that has the operators that are added."""
    known = [each for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if not known:
        model.opset_import.append(helper.make_opsetid("", CONVERTED_OPSET))
        return model
    if known[0].version < OLDEST_OPSET:
        raise ForeignModelRefused(
            f"it uses opset {known[0].version} of ONNX, which is from before 2018: export it again "
            f"with opset {CONVERTED_OPSET} or later"
        )
    if known[0].version >= oldest:
        return model
    try:
        return version_converter.convert_version(model, CONVERTED_OPSET)
    except Exception as error:
        raise ForeignModelRefused(
            f"it uses opset {known[0].version} of ONNX, which cannot be converted "
            f"({str(error).splitlines()[0][:150]}): export it "
            f"again with opset {CONVERTED_OPSET} or later"
        ) from error


def _free(name: str) -> str:
    """Move names that Candor needs itself out of the way."""
    taken = name in _RESERVED or name.startswith(("candor/", "calibrator_", "model/"))
    return f"model/{name}" if taken else name


def _reshaped(graph: onnx.GraphProto, tensor: str, shape: Iterable[int]) -> str:
    graph.initializer.append(
        numpy_helper.from_array(np.array(list(shape), np.int64), "candor/scores_shape")
    )
    graph.node.extend(
        [
            helper.make_node("Cast", [tensor], ["candor/scores"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["candor/scores", "candor/scores_shape"], ["candor/rows"]),
        ]
    )
    return "candor/rows"


def _scanned(graph: onnx.GraphProto, image: ImageInput, tensor: str, per_image: int) -> str:
    """Move the nodes into the body of a Scan, which runs them for one image after the other."""
    copies = image.batch or 1
    shape = image.shape if image.batch == UNBATCHED else (1, *image.shape)
    one = helper.make_node("Reshape", ["candor/one", "candor/one_shape"], ["candor/one_image"])
    batch = helper.make_node("Concat", ["candor/one_image"] * copies, [_BATCH], axis=0)
    if image.batch == UNBATCHED:
        batch = helper.make_node("Identity", ["candor/one_image"], [_BATCH])
    take = [
        helper.make_node("Cast", [tensor], ["candor/scores"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["candor/scores", "candor/scores_shape"], ["candor/copies"]),
        helper.make_node("Gather", ["candor/copies", "candor/first"], ["candor/row"], axis=0),
    ]
    body = helper.make_graph(
        [one, batch, *graph.node, *take],
        "one_image",
        [helper.make_tensor_value_info("candor/one", image.elem_type, list(image.shape))],
        [helper.make_tensor_value_info("candor/row", TensorProto.FLOAT, [per_image])],
    )
    constants = {
        "candor/one_shape": shape,
        "candor/scores_shape": (copies, per_image),
        "candor/first": (),
    }
    for name, values in constants.items():
        array = np.array(values, np.int64) if values else np.array(0, np.int64)
        graph.initializer.append(numpy_helper.from_array(array, name))
    del graph.node[:]
    graph.node.append(
        helper.make_node("Scan", [NATIVE], ["candor/rows"], body=body, num_scan_inputs=1)
    )
    return "candor/rows"


def _append_logits(graph: onnx.GraphProto, rows: str, kind: Kind, count: int) -> None:
    """From scores, float32 [N, K] or [N, 1], to LOGITS [N, K]."""
    graph.initializer.append(
        numpy_helper.from_array(np.array([floor_of(count)], np.float32), "candor/floor")
    )
    graph.initializer.append(
        numpy_helper.from_array(np.array([1.0], np.float32), "candor/one_probability")
    )

    def add(operator: str, inputs: list[str], output: str) -> str:
        graph.node.append(helper.make_node(operator, inputs, [output]))
        return output

    def log(name: str, output: str) -> str:
        floored = add(
            "Add", [add("Relu", [name], f"{output}_positive"), "candor/floor"], f"{output}_floored"
        )
        return add("Log", [floored], output)

    if kind in ("binary probability", "independent"):
        rest = add("Sub", ["candor/one_probability", rows], "candor/rest")
        rows = add(
            "Sub", [log(rows, "candor/log"), log(rest, "candor/log_rest")], "candor/log_odds"
        )
    elif kind == "probabilities":
        rows = log(rows, "candor/log")
    if kind.startswith("binary"):
        zero = add("Sub", [rows, rows], "candor/zero")
        graph.node.append(helper.make_node("Concat", [zero, rows], [LOGITS], axis=1))
    else:
        add("Identity", [rows], LOGITS)
    _drop_unused(graph, ("candor/floor", "candor/one_probability"))


def _drop_unused(graph: onnx.GraphProto, names: Iterable[str]) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [
        tensor
        for tensor in graph.initializer
        if tensor.name in used or tensor.name not in set(names)
    ]
    copies: list[TensorProto] = [*kept]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def _declare(graph: onnx.GraphProto, image: ImageInput, count: int) -> None:
    del graph.input[:], graph.output[:]
    graph.input.append(_value(NATIVE, image.elem_type, image.shape))
    graph.output.append(_value(LOGITS, TensorProto.FLOAT, (count,)))


def _value(name: str, elem_type: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, ["N", *shape])
