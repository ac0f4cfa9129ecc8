"""Small foreign ONNX graphs, written operator by operator, and folders of labeled images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

SIDE = 16


def foreign_onnx(
    path: Path,
    nodes: Sequence[NodeProto] = (),
    *,
    shape: Sequence[int | str] = ("N", 3, SIDE, SIDE),
    outputs: Sequence[str] = ("scores",),
    constants: Mapping[str, Any] | None = None,
    opset: int = 17,
    domains: Sequence[str] = (),
    elem_type: int = TensorProto.FLOAT,
) -> Path:
    """Write a graph from `pixels` to `outputs`; without nodes it is a linear classifier of three
    classes.
    """
    tensors = {
        "weights": np.random.default_rng(0).normal(0, 0.5, (3 * SIDE * SIDE, 3)).astype(np.float32)
    }
    graph = helper.make_graph(
        [*(nodes or linear())],
        "foreign",
        [helper.make_tensor_value_info("pixels", elem_type, list(shape))],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in outputs],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in (tensors | dict(constants or {})).items()
        ],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(each, 1) for each in domains)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def linear(ending: str = "", source: str = "pixels") -> list[NodeProto]:
    """Flatten and MatMul, then an operator such as Softmax."""
    scores = "logits" if ending else "scores"
    nodes = [
        helper.make_node("Flatten", [source], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], [scores]),
    ]
    return [*nodes, helper.make_node(ending, ["logits"], ["scores"])] if ending else nodes


def labeled_folder(
    root: Path, classes: Sequence[str] = ("a", "b", "c"), *, images: int = 12, size: int = SIDE
) -> Path:
    """Write images of each class: noise that is brightest in the class's color."""
    random = np.random.default_rng(1)
    for at, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(images):
            pixels = random.integers(0, 120, (size, size, 3), dtype=np.uint8)
            pixels[..., at % 3] += 100
            Image.fromarray(pixels).save(root / name / f"p{number // 3}_{number}.png")
    return root


def color_weights(*, bgr: bool = False) -> Any:
    """Weights (3 * SIDE * SIDE, 3) that answer the brightest color, for pixels from 0 to 1."""
    plane = np.repeat(np.eye(3, dtype=np.float32), SIDE * SIDE, axis=0) * 20 / (SIDE * SIDE)
    return np.ascontiguousarray(plane[::-1] if bgr else plane)
