"""The features of an imported graph for its scope check, and the check fitted on images.

A feature is the mean over positions of what enters a convolution or a matrix product, as in models
that Candor trains. Which tensors there are, and their sizes, is found by running the graph. One
that has few is checked by the statistics of the image alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from model_store.bundle.card import ScopeCard
from model_store.bundle.graph import INPUT
from model_store.bundle.graph_part import GraphPart
from model_store.bundle.scope import (
    MOST_CALIBRATED,
    MOST_FITTED,
    SCOPE_FEATURES,
    ScopeFeatures,
    chosen_taps,
    fit_scope,
    reduced,
    statistics,
    with_scope,
)
from model_store.errors import ForeignModelRefused
from model_store.foreign.labeled_images import LabeledImages, decoded
from model_store.foreign.sandbox import Sandbox, SandboxSession
from model_store.foreign.wrapping import ROWS
from model_store.image import InputSpec

PROBED: Final = 48  # tensors, spread over the depth
_CONVOLUTIONS: Final = frozenset({"Conv", "QLinearConv"})
_LAYERS: Final = _CONVOLUTIONS | {"Gemm", "MatMul", "QLinearMatMul"}
SPLIT: Final = "held-out half of the images"
_NONE: Final = "There is no scope check:"
_Rows: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CheckedGraph:
    """A bundle's graph, what its card says of the scope check, and why there is none."""

    onnx: bytes
    card: ScopeCard | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Tap:
    """What enters a layer: its name, the operator, and its shape for two images."""

    tensor: str
    operator: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return self.shape[1] if self.operator in _CONVOLUTIONS else self.shape[-1]


def with_scope_check(
    model: bytes,
    sandbox: Sandbox,
    data: LabeledImages | None,
    *,
    spec: InputSpec,
) -> CheckedGraph:
    """Fit a scope check on images, one half of them describing and the other calibrating.

    The labels of `data` are not used.
    """
    if data is None:
        return CheckedGraph(model, notes=(f"{_NONE} no images were given to fit it on.",))
    held_out = _spread(np.flatnonzero(data.held_out), MOST_CALIBRATED)
    fitting = _spread(np.flatnonzero(~data.held_out), MOST_FITTED)
    try:
        shown = add_features(model, sandbox)
        session = sandbox.load(shown) if shown else None
        (fitted, maps), (calibrated, _) = (
            _seen(session, decoded(data.paths, numbers.tolist(), spec))
            for numbers in (fitting, held_out)
        )
        if session is not None:
            session.unload()
    except ForeignModelRefused as error:
        return CheckedGraph(model, notes=(f"{_NONE} {error}.",))
    check = fit_scope(ScopeFeatures(fitted, calibrated, maps), split=SPLIT)
    if check is None:
        return CheckedGraph(model, notes=(f"{_NONE} {len(held_out)} images cannot calibrate it.",))
    return CheckedGraph(with_scope(shown or model, check.parameters), check.card)


def _seen(
    session: SandboxSession | None, batches: Iterable[tuple[Any, npt.NDArray[np.uint8]]]
) -> tuple[_Rows, int]:
    """Features (n, D) of images, and how many of these are of maps."""
    rows: list[_Rows] = []
    maps = 0
    for _, pixels in batches:
        of_image = statistics(pixels)
        shown = session.rows({INPUT: pixels}, SCOPE_FEATURES) if session else [of_image[:, :0]]
        if rows and shown[0].shape[1] != maps and session:
            raise session.sandbox.disbelieved("its features differ in number")
        maps = shown[0].shape[1]
        rows.append(np.concatenate([*shown, of_image], axis=1))
    return np.concatenate(rows), maps


def add_features(model: bytes, sandbox: Sandbox) -> bytes | None:
    """Return the graph with the output `scope_features` [N, D]; None if it shows none."""
    taps = _probed(model, sandbox)[1:]  # the first sees the image
    chosen = [taps[place] for place in chosen_taps([each.size for each in taps])]
    if not chosen:
        return None
    proto = onnx.load_model_from_string(model)
    place, part = _Place(proto), GraphPart("scope_tap_")
    rows = [_row(proto, part, tap) for tap in chosen]
    place.add(part, {SCOPE_FEATURES: part.add("Concat", *rows, axis=1)})
    return bytes(proto.SerializeToString(deterministic=True))


def _row(proto: onnx.ModelProto, part: GraphPart, tap: _Tap) -> str:
    """The features [N, C] of a tap."""
    row = part.add("Cast", tap.tensor, to=TensorProto.FLOAT)
    if tap.operator in _CONVOLUTIONS:
        return part.add("Flatten", part.add("GlobalAveragePool", row))
    axes = list(range(1, len(tap.shape) - 1))  # the positions
    return reduced(proto, part, "ReduceMean", row, axes=axes, keepdims=0) if axes else row


def _probed(model: bytes, sandbox: Sandbox) -> list[_Tap]:
    """The taps of which a run on two images shows a row for each image, in their order."""
    proto = onnx.load_model_from_string(model)
    place = _Place(proto)
    found = dict.fromkeys(place.layers())
    kept = [list(found)[at] for at in _spread(np.arange(len(found)), PROBED)]
    if not kept:
        return []
    part = GraphPart("scope_probe_")
    outputs = {
        f"scope_probed_{number}": part.add("Cast", tensor, to=TensorProto.FLOAT)
        for number, (tensor, _) in enumerate(kept)
    }
    place.add(part, outputs)
    session = sandbox.load(bytes(proto.SerializeToString()))
    size = [each.dim_value for each in proto.graph.input[0].type.tensor_type.shape.dim[1:]]
    images = np.random.default_rng(0).integers(0, 256, (2, *size), np.uint8)
    given = session.run({INPUT: images}, list(outputs))
    session.unload()
    taps = [
        _Tap(tensor, operator, given[name].shape)
        for (tensor, operator), name in zip(kept, outputs, strict=True)
    ]
    return [each for each in taps if len(each.shape) > 1 and each.shape[0] == len(images)]


class _Place:
    """Where a graph's layers are: in the graph, or in a Scan that runs it image by image."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._outer = self._graph = proto.graph
        self._scan = next((node for node in proto.graph.node if ROWS in node.output), None)
        if self._scan is not None:
            self._graph = next(each.g for each in self._scan.attribute if each.name == "body")

    def layers(self) -> Iterator[tuple[str, str]]:
        """Give what enters each layer, and its operator."""
        constants = {tensor.name for tensor in self._outer.initializer}
        for node in self._graph.node:
            if node.op_type in _LAYERS and node.input and node.input[0] not in constants:
                yield node.input[0], node.op_type

    def add(self, part: GraphPart, outputs: Mapping[str, str]) -> None:
        """Append nodes, and make float32 tensors outputs of the graph, by their new names.

        Of a Scan this is the first row of each run, which has one image, or copies of it.
        """
        for name, tensor in outputs.items():
            self._outer.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
            if self._scan is None:
                part.add("Identity", tensor, output=name)
                continue
            row = part.add("Gather", tensor, np.array(0), axis=0)
            self._graph.output.append(helper.make_tensor_value_info(row, TensorProto.FLOAT, None))
            self._scan.output.append(name)
        self._graph.node.extend(part.nodes)
        self._outer.initializer.extend(part.constants)


def _spread(numbers: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """At most `count` of the numbers, evenly spread."""
    places = np.linspace(0, len(numbers) - 1, min(len(numbers), count)).astype(np.int64)
    return numbers[places]
