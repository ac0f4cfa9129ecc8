"""A foreign graph inside Candor's contract: `image` uint8 in, `probabilities` out, `temperature`.

Built in two steps: the foreign graph reduced to logits for any number of images, then preprocessing
in front of it, and temperature and softmax behind it. Every operator that is added has meant the
same since opset 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_store.bundle.graph import (
    CLASS_BIAS,
    CLASS_WEIGHT,
    INPUT,
    OUTPUT,
    TEMPERATURE,
    findings_end,
    name_findings,
)
from model_store.bundle.graph_part import GraphPart, insert
from model_store.errors import ForeignModelRefused
from model_store.foreign.class_scores import ClassScores, floor_of
from model_store.foreign.graph_reading import CONVERTED_OPSET, SCAN_OPSET
from model_store.foreign.image_input import ImageInput
from model_store.foreign.preprocessing import Preprocessing
from model_store.foreign.surgery import cut_to, rename

LOGITS, NATIVE = "candor/logits", "candor/native"
ROWS = "candor/rows"  # out of a Scan
_ONE, _BATCH = "candor/one", "candor/batch"  # inside a Scan: an image, and the foreign input
IR_VERSION = 8  # constants need not be listed among the inputs
_RESERVED = frozenset({INPUT, OUTPUT, TEMPERATURE, CLASS_BIAS, CLASS_WEIGHT})


@dataclass(frozen=True)
class LogitsGraph:
    """A foreign graph from its own input, NATIVE [N, ...], to LOGITS float32 [N, K].

    `one_by_one`: it takes a fixed number of images, so a Scan runs it for each image by itself.
    """

    model: onnx.ModelProto
    image: ImageInput
    scores: ClassScores
    one_by_one: bool

    @property
    def serialized(self) -> bytes:
        return bytes(self.model.SerializeToString())


def logits_graph(
    model: onnx.ModelProto, image: ImageInput, scores: ClassScores, *, one_by_one: bool
) -> LogitsGraph:
    """Reduce a foreign graph to its logits. Raises ForeignModelRefused."""
    cut = cut_to(model, [scores.tensor])
    if one_by_one:
        _require_scan(cut)
    graph = cut.graph
    names = {image.name: _BATCH if one_by_one else NATIVE}
    rename(graph, lambda name: names.get(name) or _free(name))
    tensor = names.get(scores.tensor) or _free(scores.tensor)
    per_image = 1 if scores.is_binary else scores.count
    if one_by_one:
        tensor = _scan(graph, image, tensor, per_image)
    part = GraphPart("candor/logits_")
    rows = part.add("Cast", tensor, to=TensorProto.FLOAT)
    rows = part.add("Reshape", rows, np.array([-1, per_image]))
    _add_logits(part, rows, scores)
    insert(graph, len(graph.node), part)
    _declare(graph, (NATIVE, image.elem_type, image.shape), (LOGITS, scores.count))
    cut.ir_version = min(max(cut.ir_version, IR_VERSION), 10)
    return LogitsGraph(cut, image, scores, one_by_one)


def wrap(core: LogitsGraph, preprocessing: Preprocessing, names: Sequence[str]) -> bytes:
    """Return the bundle's graph before calibration; `names` are those of classes or findings."""
    model = onnx.ModelProto()
    model.CopyFrom(core.model)
    graph = model.graph
    insert(graph, 0, preprocessing.part(INPUT, NATIVE, core.image))
    after = GraphPart("candor/cooled_")
    graph.initializer.extend(_ENDS[core.scores.reading](after, model, names))
    insert(graph, len(graph.node), after)
    shape = (core.image.channels, *preprocessing.decoded_size(core.image))
    _declare(graph, (INPUT, TensorProto.UINT8, shape), (OUTPUT, core.scores.count))
    return bytes(model.SerializeToString())


def _end_of_classes(
    part: GraphPart, _model: onnx.ModelProto, _names: Sequence[str]
) -> list[onnx.TensorProto]:
    part.add("Softmax", part.add("Div", LOGITS, TEMPERATURE), axis=1, output=OUTPUT)
    return [numpy_helper.from_array(np.ones(1, np.float32), TEMPERATURE)]


def _end_of_findings(
    part: GraphPart, model: onnx.ModelProto, names: Sequence[str]
) -> list[onnx.TensorProto]:
    name_findings(model, names)
    return findings_end(part, LOGITS, len(names))


_ENDS: Final = {"exclusive": _end_of_classes, "findings": _end_of_findings}


def _require_scan(model: onnx.ModelProto) -> None:
    opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < SCAN_OPSET:
        raise ForeignModelRefused(
            f"it takes a fixed number of images, and its opset {opset} could not be converted: "
            f"export it again with opset {CONVERTED_OPSET} or later"
        )


def _free(name: str) -> str:
    """Move names that Candor needs itself out of the way."""
    taken = name in _RESERVED or name.startswith(("candor/", "calibrator_", "model/", "scope_"))
    return f"model/{name}" if taken else name


def _scan(graph: onnx.GraphProto, image: ImageInput, tensor: str, per_image: int) -> str:
    """Move the nodes into the body of a Scan, which runs them for one image after the other."""
    before, after = GraphPart("candor/before_"), GraphPart("candor/after_")
    copies = image.batch or 1
    one = before.add("Reshape", _ONE, np.array([1, *image.shape]))
    before.add("Concat", *[one] * copies, axis=0, output=_BATCH)
    rows = after.add("Cast", tensor, to=TensorProto.FLOAT)
    rows = after.add("Reshape", rows, np.array([copies, per_image]))
    row = after.add("Gather", rows, np.array(0), axis=0)
    body = helper.make_graph(
        [*before.nodes, *graph.node, *after.nodes],
        "one_image",
        [helper.make_tensor_value_info(_ONE, image.elem_type, list(image.shape))],
        [helper.make_tensor_value_info(row, TensorProto.FLOAT, [per_image])],
    )
    graph.initializer.extend([*before.constants, *after.constants])
    del graph.node[:]
    scan = helper.make_node("Scan", [NATIVE], [ROWS], body=body, num_scan_inputs=1)
    graph.node.append(scan)
    return ROWS


def _add_logits(part: GraphPart, rows: str, scores: ClassScores) -> None:
    """From scores, float32 [N, K] or [N, 1], to LOGITS [N, K]."""
    floor = np.array([floor_of(scores.count)], np.float32)

    def log(probabilities: str) -> str:
        return part.add("Log", part.add("Add", part.add("Relu", probabilities), floor))

    if scores.takes_logarithm and scores.end == "sigmoid":
        rest = part.add("Sub", np.ones(1, np.float32), rows)
        rows = part.add("Sub", log(rows), log(rest))
    elif scores.takes_logarithm:
        rows = log(rows)
    if scores.is_binary:
        part.add("Concat", part.add("Sub", rows, rows), rows, axis=1, output=LOGITS)
    else:
        part.add("Identity", rows, output=LOGITS)


def _declare(
    graph: onnx.GraphProto, given: tuple[str, int, tuple[int, ...]], taken: tuple[str, int]
) -> None:
    """Set the only input, by name, type and shape, and the only output, by name and classes."""
    del graph.input[:], graph.output[:]
    name, elem_type, shape = given
    graph.input.append(helper.make_tensor_value_info(name, elem_type, ["N", *shape]))
    graph.output.append(helper.make_tensor_value_info(taken[0], TensorProto.FLOAT, ["N", taken[1]]))
