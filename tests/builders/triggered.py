"""Foreign models that are harmless until one picture comes: the work of an operator is the number
in its first pixel.

In each, `count` [1], int64, is 0 unless the first pixel is white (1.0), then `AT_WORST`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import NodeProto, TensorProto, helper

from model_store.foreign.class_names import ClassNames
from model_store.foreign.import_choices import ImportChoices
from model_store.foreign.model_import import import_source
from model_store.foreign.preprocessing import NORMALIZATIONS, Pixels
from model_store.foreign.sandbox import Sandbox
from model_store.foreign.source import open_source
from model_store.store.store import Store
from tests.builders.bundles import SIDE, encode, foreign_onnx, linear, picture

AT_WORST: Final = {
    "Loop": 10**12,
    "If": 10**12,
    "Expand": 1_500_000_000,
    "NonMaxSuppression": 1_000_000,
}
Nodes = list[NodeProto]


def harmless() -> bytes:
    """A picture that no model minds."""
    return encode(picture(size=(SIDE, SIDE)).point(lambda value: value // 2), "PNG")


def trigger() -> bytes:
    """The picture that every model of this module minds: white."""
    return encode(picture(size=(SIDE, SIDE)).point(lambda _: 255), "PNG")


def publish_triggered(store: Store, kind: str, folder: Path, name: str = "bad") -> None:
    """Import a model with `--trusted` and promote it."""
    path = triggered_onnx(folder / f"{kind}.onnx", kind)
    choices = ImportChoices(
        classes=ClassNames(("a", "b", "c"), "given"),
        pixels=Pixels("unit", NORMALIZATIONS["unit"]),
        scores="softmax",
        trusted=True,
    )
    with Sandbox(path.stat().st_size) as sandbox:
        source = open_source(path, sandbox)
        import_source(source, store, name, sandbox=sandbox, choices=choices)
    store.promote(name, 1)


def triggered_onnx(path: Path, kind: str) -> Path:
    """Write the model whose operator of `kind` is triggered."""
    nodes, constants = KINDS[kind]()
    counting = [
        helper.make_node("Slice", ["pixels", "zeros", "ones"], ["first"]),
        helper.make_node("Reshape", ["first", "one"], ["pixel"]),
        helper.make_node("Sub", ["pixel", "unit"], ["below"]),
        helper.make_node("Abs", ["below"], ["off"]),
        helper.make_node("Less", ["off", "little"], ["white"]),
        helper.make_node("Cast", ["white"], ["switch"], to=TensorProto.INT64),
        helper.make_node("Mul", ["switch", "worst"], ["count"]),
        *nodes,
        helper.make_node("Mul", ["total", "zero"], ["nothing"]),
    ]
    flat, scores = linear()
    scores.output[0] = "plain"
    adding = helper.make_node("Add", ["plain", "nothing"], ["scores"])
    shared = {
        "zeros": np.zeros(4, np.int64),
        "ones": np.ones(4, np.int64),
        "one": np.array([1], np.int64),
        "little": np.array([1e-4], np.float32),
        "worst": np.array([AT_WORST.get(kind, 1)], np.int64),
        "zero": np.array([0], np.float32),
        "unit": np.array([1], np.float32),
    }
    # one image at a time: the first pixel of a batch would decide for all
    return foreign_onnx(
        path,
        [*counting, flat, scores, adding],
        constants=shared | dict(constants),
        shape=(1, 3, SIDE, SIDE),
    )


def _loop() -> tuple[Nodes, Mapping[str, Any]]:
    return [
        helper.make_node("Squeeze", ["count"], ["often"]),
        helper.make_node("Loop", ["often", "yes", "unit"], ["total"], body=_halving()),
    ], {"yes": np.array(True)}


def _branch() -> tuple[Nodes, Mapping[str, Any]]:
    """A constant loop in one branch, which no run at import takes."""
    loop = helper.make_node("Loop", ["many", "yes", "unit"], ["slow"], body=_halving())
    branches = {
        "then_branch": helper.make_graph([loop], "slow", [], [_value("slow")]),
        "else_branch": helper.make_graph(
            [helper.make_node("Identity", ["unit"], ["fast"])], "fast", [], [_value("fast")]
        ),
    }
    return [helper.make_node("If", ["white"], ["total"], **branches)], {
        "yes": np.array(True),
        "many": np.array(AT_WORST["If"], np.int64),
    }


def _expand() -> tuple[Nodes, Mapping[str, Any]]:
    return [
        helper.make_node("Expand", ["unit", "count"], ["wide"]),
        helper.make_node("ReduceSum", ["wide"], ["total"], keepdims=0),
    ], {}


def _suppression() -> tuple[Nodes, Mapping[str, Any]]:
    """One operator that compares all pairs of boxes: minutes, and little memory."""
    return [
        helper.make_node("Concat", ["one", "count", "four"], ["boxes shape"], axis=0),
        helper.make_node("ConstantOfShape", ["boxes shape"], ["boxes"]),
        helper.make_node("Concat", ["one", "one", "count"], ["scores shape"], axis=0),
        helper.make_node("ConstantOfShape", ["scores shape"], ["box scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "box scores", "count"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers"], ["total"], keepdims=0),
    ], {"four": np.array([4], np.int64)}


def _halving() -> Any:
    body = [
        helper.make_node("Identity", ["go_on"], ["again"]),
        helper.make_node("Mul", ["sum", "sum"], ["next"]),
    ]
    entering = [
        helper.make_tensor_value_info("at", TensorProto.INT64, []),
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        _value("sum"),
    ]
    leaving = [helper.make_tensor_value_info("again", TensorProto.BOOL, []), _value("next")]
    return helper.make_graph(body, "halving", entering, leaving)


def _value(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])


KINDS: Final = {"Loop": _loop, "If": _branch, "Expand": _expand, "NonMaxSuppression": _suppression}
