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
from model_store.bundle.scope import SCOPE_FEATURES
from model_store.errors import ForeignModelRefused
from model_store.foreign.class_scores import ClassScores, floor_of
from model_store.foreign.graph_reading import CONVERTED_OPSET, SCAN_OPSET
from model_store.foreign.image_input import ImageInput
from model_store.foreign.preprocessing import Preprocessing
from model_store.foreign.scope_features import Tap
from model_store.foreign.surgery import cut_to, rename

LOGITS, NATIVE = "candor/logits", "candor/native"
ROWS = "candor/rows"  # of scores
_ONE, _BATCH = "candor/one", "candor/batch"  # inside a Scan: an image, and the foreign input
IR_VERSION = 8  # constants need not be listed among the inputs
_RESERVED = frozenset({INPUT, OUTPUT, TEMPERATURE, CLASS_BIAS, CLASS_WEIGHT})


@dataclass(frozen=True)
class LogitsGraph:
    """A foreign graph from its own input, NATIVE [N, ...], to LOGITS float32 [N, K].

    Attributes:
        one_by_one: it takes a fixed number of images, so a Scan runs it for each image by itself.
        taps: of what SCOPE_FEATURES [N, D] are means, a second output; none if there is none.
    """

    model: onnx.ModelProto
    image: ImageInput
    scores: ClassScores
    one_by_one: bool
    taps: tuple[Tap, ...] = ()

    @property
    def serialized(self) -> bytes:
        return bytes(self.model.SerializeToString())

    @property
    def outputs(self) -> tuple[str, ...]:
        return (LOGITS, SCOPE_FEATURES) if self.taps else (LOGITS,)


def logits_graph(
    model: onnx.ModelProto,
    image: ImageInput,
    scores: ClassScores,
    *,
    one_by_one: bool,
    taps: Sequence[Tap] = (),
) -> LogitsGraph:
    """Reduce a foreign graph to its logits. Raises ForeignModelRefused."""
    cut = cut_to(model, [*scores.tensors, *(each.tensor for each in taps)])
    if one_by_one:
        _require_scan(cut)
    graph, given = cut.graph, _BATCH if one_by_one else NATIVE

    def renamed(name: str) -> str:
        return given if name == image.name else _free(name)

    rename(graph, renamed)
    part = GraphPart("candor/rows_")
    columns = 1 if scores.is_binary else scores.count // len(scores.tensors)
    joined = [
        part.add("Reshape", part.add("Cast", name, to=TensorProto.FLOAT), np.array([-1, columns]))
        for name in map(renamed, scores.tensors)
    ]
    part.add("Concat", *joined, axis=1, output=ROWS)
    if taps:
        rows = [each.row(cut, part, renamed(each.tensor)) for each in taps]
        part.add("Concat", *rows, axis=1, output=SCOPE_FEATURES)
    insert(graph, len(graph.node), part)
    if one_by_one:
        _scan(graph, image, (ROWS, SCOPE_FEATURES) if taps else (ROWS,))
    end = GraphPart("candor/logits_")
    _add_logits(end, ROWS, scores)
    insert(graph, len(graph.node), end)
    core = LogitsGraph(cut, image, scores, one_by_one, tuple(taps))
    _declare(graph, (NATIVE, image.elem_type, image.shape), (LOGITS, scores.count), core)
    cut.ir_version = min(max(cut.ir_version, IR_VERSION), 10)
    return core


def wrap(core: LogitsGraph, preprocessing: Preprocessing, names: Sequence[str]) -> bytes:
    """Return the bundle's graph before calibration; `names` are those of classes or findings.

    Features for the scope check are a second output, if the core has any.
    """
    model = onnx.ModelProto()
    model.CopyFrom(core.model)
    graph = model.graph
    insert(graph, 0, preprocessing.part(INPUT, NATIVE, core.image))
    after = GraphPart("candor/cooled_")
    graph.initializer.extend(_ENDS[core.scores.reading](after, model, names))
    insert(graph, len(graph.node), after)
    shape = (core.image.channels, *preprocessing.decoded_size(core.image))
    _declare(graph, (INPUT, TensorProto.UINT8, shape), (OUTPUT, core.scores.count), core)
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


def _scan(graph: onnx.GraphProto, image: ImageInput, rows: Sequence[str]) -> None:
    """Move the nodes into the body of a Scan, which runs them for one image after the other.

    The `rows` [copies, ...] of an image become those of all images, by the same names.
    """
    before, after = GraphPart("candor/before_"), GraphPart("candor/after_")
    one = before.add("Reshape", _ONE, np.array([1, *image.shape]))
    before.add("Concat", *[one] * (image.batch or 1), axis=0, output=_BATCH)
    firsts = [after.add("Gather", row, np.array(0), axis=0) for row in rows]
    body = helper.make_graph(
        [*before.nodes, *graph.node, *after.nodes],
        "one_image",
        [helper.make_tensor_value_info(_ONE, image.elem_type, list(image.shape))],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in firsts],
    )
    rename(body, lambda name: f"{name}_of_one" if name in rows else name)
    graph.initializer.extend([*before.constants, *after.constants])
    del graph.node[:]
    graph.node.append(helper.make_node("Scan", [NATIVE], [*rows], body=body, num_scan_inputs=1))


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
    graph: onnx.GraphProto,
    given: tuple[str, int, tuple[int, ...]],
    taken: tuple[str, int],
    core: LogitsGraph,
) -> None:
    """Set the only input, by name, type and shape, the output, by name and classes, and features
    for the scope check.
    """
    del graph.input[:], graph.output[:]
    name, elem_type, shape = given
    graph.input.append(helper.make_tensor_value_info(name, elem_type, ["N", *shape]))
    graph.output.append(helper.make_tensor_value_info(taken[0], TensorProto.FLOAT, ["N", taken[1]]))
    if core.taps:
        width = sum(each.size for each in core.taps)
        features = helper.make_tensor_value_info(SCOPE_FEATURES, TensorProto.FLOAT, ["N", width])
        graph.output.append(features)
