"""Values are followed from the image to what sizes the work of an operator, and no further."""

import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, defs, helper, numpy_helper

from model_store.bundle.data_dependence import data_dependence, sizing_inputs
from tests.builders.triggered import KINDS, triggered_onnx

SIZES = re.compile(
    r"shape|size|repeats|tiles|ax[ei]s|depth|pads|scales|step|starts|ends|length|^k$|split|limit"
    r"|delta|frame|indices|position|count|trip|cond|roi|max_|num|start",
    re.IGNORECASE,
)
# Inputs of such names that decide neither a shape nor how long the operator runs.
HARMLESS = {
    *("Attention K", "CumProd axis", "CumSum axis", "Gather indices", "GatherElements indices"),
    *("GatherND indices", "MaxRoiPool rois", "OneHot indices", "RoiAlign batch_indices"),
    *("RotaryEmbedding position_ids", "Scatter indices", "ScatterElements indices"),
    *("ScatterND indices", "TensorScatter write_indices", "Trilu k", "Where condition"),
}


def test_every_input_of_onnx_that_may_size_an_output_is_known() -> None:
    named = {
        f"{schema.name} {given.name}"
        for schema in defs.get_all_schemas_with_history()
        for place, given in enumerate(schema.inputs)
        if schema.domain in ("", "ai.onnx.ml")
        and SIZES.search(given.name)
        and place not in sizing_inputs(schema.name)
    }
    assert named <= HARMLESS


def test_every_operator_of_onnx_that_makes_texts_of_texts_is_known() -> None:
    known = {
        f"{schema.name} {given.name}"
        for schema in defs.get_all_schemas()
        for place, given in enumerate(schema.inputs)
        if set(given.types) == {"tensor(string)"} and place not in sizing_inputs(schema.name)
    }
    assert not known


@pytest.mark.parametrize("kind", KINDS)
def test_triggered_models_are_found(tmp_path: Any, kind: str) -> None:
    assert data_dependence(onnx.load(triggered_onnx(tmp_path / "bad.onnx", kind)))


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def found(*nodes: NodeProto) -> str | None:
    names = {each for one in nodes for each in one.input} - {"image"}
    constants = [numpy_helper.from_array(np.array([1]), name) for name in sorted(names)]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3])
    return data_dependence(
        helper.make_model(helper.make_graph(nodes, "graph", [image], [], constants))
    )


def body(nodes: Sequence[NodeProto], entering: str, leaving: str) -> onnx.GraphProto:
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in each.split()]
        for each in (entering, leaving)
    ]
    return helper.make_graph(nodes, "body", *values)


COUNTING = body([node("Add", "sum sum", "next")], "at go sum", "go next")
STOPPING = body([node("Less", "sum one", "again")], "at go sum", "again sum")
GROWING = body([node("Expand", "sum other", "next")], "at go sum other", "go next next")
SCANNED = body([node("Add", "state row", "next")], "state row", "next next")


def test_what_sizes_and_what_does_not() -> None:
    for nodes, operator in [
        ([node("Shape", "image", "s"), node("Expand", "one s", "e")], None),
        ([node("Expand", "image sizes", "e")], None),
        ([node("Expand", "one image", "e")], "Expand 'e'"),
        ([node("RandomUniform", "", "r", shape=[1]), node("Range", "a r c", "e")], "Range 'e'"),
        ([node("NonZero", "image", "n")], "NonZero 'n'"),
        # a text that doubles with each operator, and is empty without the right image
        ([node("Where", "image a b", "s"), node("StringConcat", "s s", "t")], "StringConcat 't'"),
        ([node("Gather", "table image", "g"), node("TopK", "x g", "v i")], "TopK 'v'"),
        ([node("ReduceSum", "x image", "r")], "ReduceSum 'r'"),
        ([node("Loop", "often yes image", "l", body=COUNTING)], None),
        ([node("Loop", "image yes one", "l", body=COUNTING)], "Loop 'l'"),
        ([node("Loop", "often yes image", "l", body=STOPPING)], "Loop 'l'"),
        ([node("Loop", "often yes one", "l", body=STOPPING)], None),
        # the second run expands to what the first one passed on
        ([node("Loop", "often yes image one", "l m", body=GROWING)], "Expand 'next'"),
        ([node("Loop", "often yes one one", "l m", body=GROWING)], None),
        ([node("Scan", "one image", "a b", body=SCANNED, num_scan_inputs=1)], None),
        (
            [
                node("Scan", "one image", "a b", body=SCANNED, num_scan_inputs=1),
                node("Tile", "x a", "t"),
            ],
            "Tile 't'",
        ),
    ]:
        assert found(*nodes) == operator


@pytest.mark.slow
def test_bodies_in_bodies_cannot_take_forever() -> None:
    """Each level runs its body as often as it passes something on: 21 ** 16 visits in all."""
    loop = node("Identity", "image", "y")
    for level in range(16):
        names = [f"{level}_{number}" for number in range(20)]
        inner = body([loop], " ".join(["at go", *names]), " ".join(["go", *names[1:], "image"]))
        loop = node("Loop", "often yes" + 20 * " one", f"l{level}", body=inner)
    started_s = time.process_time()
    assert found(loop)
    assert time.process_time() - started_s < 60
