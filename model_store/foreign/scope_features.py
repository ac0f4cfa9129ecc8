"""The features of an imported graph for its scope check, and the check fitted on images.

A feature is the mean over positions of what enters a convolution or a matrix product, as in models
that Candor trains. A graph that has few of them is checked by the statistics of the image alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from model_store.bundle.graph_part import GraphPart, insert
from model_store.bundle.scope import (
    LEAST,
    MOST_CALIBRATED,
    MOST_FITTED,
    ScopeCheck,
    ScopeFeatures,
    chosen_taps,
    fit_scope,
    reduced,
)
from model_store.errors import ForeignModelRefused
from model_store.foreign.image_input import ImageInput
from model_store.foreign.labeled_images import LabeledImages
from model_store.foreign.sandbox import Sandbox
from model_store.foreign.surgery import cut_to

PROBED: Final = 48  # tensors, spread over the depth
_CONVOLUTIONS: Final = frozenset({"Conv", "QLinearConv"})
_LAYERS: Final = _CONVOLUTIONS | {"Gemm", "MatMul", "QLinearMatMul"}
SPLIT: Final = "held-out half of the images"
_Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tap:
    """What enters a layer: its name, the operator, and its shape, of which the first is images."""

    tensor: str
    operator: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return self.shape[1] if self.operator in _CONVOLUTIONS else self.shape[-1]

    def row(self, model: onnx.ModelProto, part: GraphPart, tensor: str) -> str:
        """Append the features [N, C] of this tap, which is called `tensor` now."""
        row = part.add("Cast", tensor, to=TensorProto.FLOAT)
        if self.operator in _CONVOLUTIONS:
            return part.add("Flatten", part.add("GlobalAveragePool", row))
        positions = list(range(1, len(self.shape) - 1))
        if not positions:
            return row
        return reduced(model, part, "ReduceMean", row, axes=positions, keepdims=0)


def find_taps(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    image: ImageInput,
    arrays: npt.NDArray[Any],
    sandbox: Sandbox,
) -> list[Tap]:
    """Return the taps to use, of those before `tensors` that have a row for each image.

    `arrays` are images as the graph takes them. None if the graph does not run so.
    """
    graph = cut_to(model, tensors).graph
    constants = {tensor.name for tensor in graph.initializer}
    layers = {
        node.input[0]: node.op_type
        for node in reversed(graph.node)
        if node.op_type in _LAYERS and node.input and node.input[0] not in constants
    }
    names = spread(list(reversed(layers)), PROBED)
    if not names:
        return []
    shown, part = cut_to(model, names), GraphPart("candor/shape_")
    shapes = [part.add("Shape", name) for name in names]
    insert(shown.graph, len(shown.graph.node), part)
    del shown.graph.output[:]
    shown.graph.output.extend(
        helper.make_tensor_value_info(each, TensorProto.INT64, None) for each in shapes
    )
    images = np.stack([arrays[0]] * (image.batch or 2))
    try:
        session = sandbox.load(bytes(shown.SerializeToString()))
        given = session.run({image.name: images}, shapes)
        session.unload()
    except ForeignModelRefused:  # of an operator whose result may not be shown
        return []
    taps = [
        Tap(name, layers[name], tuple(given[shape].tolist()))
        for name, shape in zip(names, shapes, strict=True)
    ]
    taps = [each for each in taps if len(each.shape) > 1 and each.shape[0] == len(images)][1:]
    return [taps[place] for place in chosen_taps([each.size for each in taps])]


def can_be_checked(data: LabeledImages | None) -> bool:
    """Whether there are images to fit a scope check on."""
    if data is None:
        return False
    return int(data.held_out.sum()) >= LEAST and int((~data.held_out).sum()) >= 2


def fitted_scope(data: LabeledImages, maps: _Rows, statistics: _Rows) -> ScopeCheck | None:
    """Fit a scope check: one half of the images describes, the other calibrates.

    `maps` (N, D), D may be 0, and `statistics` (N, S) are of all images. Labels are not used.
    """
    rows = np.concatenate([maps, statistics], axis=1)
    held_out = spread(np.flatnonzero(data.held_out).tolist(), MOST_CALIBRATED)
    fitting = spread(np.flatnonzero(~data.held_out).tolist(), MOST_FITTED)
    return fit_scope(ScopeFeatures(rows[fitting], rows[held_out], maps.shape[1]), split=SPLIT)


def spread(items: list[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread."""
    places = np.linspace(0, len(items) - 1, min(len(items), count)).astype(np.int64)
    return [items[place] for place in places]
