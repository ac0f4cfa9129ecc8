"""What a foreign graph gives: which output holds a score for each class, and what kind of score.

A softmax or sigmoid at the end is cut off, so that a temperature divides logits. What was cut is
checked by running both; if they differ, the probabilities stay and their logarithms serve as
logits, which is the same up to a constant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from calibration.calibrators.temperature import softmax
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.surgery import SAME_ORDER, behind, first_input, producers

Kind = Literal[
    "logits",
    "probabilities",
    "binary logit",
    "binary probability",
    "independent logits",
    "independent",
]
_FLOATS: Final = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
SUMS_TO_ONE: Final = 0.02  # a quantized or half-precision softmax is off by as much
# Difference of a probability between the output and what is computed from before its softmax.
CUT_DIFFERENCE: Final = 5e-4
# What ends in one of these gives any number, even if those for the probe images are in [0, 1].
_PRODUCTS: Final = frozenset({"MatMul", "MatMulInteger", "QLinearMatMul", "Gemm"})
_CONVOLUTIONS: Final = frozenset({"Conv", "ConvInteger", "QLinearConv"})
LINEAR: Final = _PRODUCTS | _CONVOLUTIONS | {"Add", "GlobalAveragePool"}
FLOOR: Final = 1e-6  # added to a probability before its logarithm; less with many classes
CUTTABLE: Final = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_AFTER_CUT: Final[dict[Kind, Kind]] = {
    "probabilities": "logits",
    "binary probability": "binary logit",
    "independent": "independent logits",
}
_KEPT: Final[dict[Kind, str]] = {
    "probabilities": "logarithms of its probabilities serve as logits",
    "binary probability": "the log-odds of its probability serve as logit",
    "independent": "the log-odds of its probabilities serve as logits",
}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ScoreOutput:
    """An output that may hold class scores, the tensor with its numbers, a ZipMap's names."""

    output: str
    tensor: str
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ClassScores:
    """The class scores of a foreign graph.

    Attributes:
        source: the output.
        kind: what its numbers are.
        count: classes; 2 where one score stands for both.
        before: the tensor before a softmax or sigmoid that is to be cut off, None if nothing is
            cut.
    """

    source: ScoreOutput
    kind: Kind
    count: int
    before: str | None = None

    @property
    def tensor(self) -> str:
        """The tensor from which the logits are computed."""
        return self.before or self.source.tensor

    @property
    def kind_after_cut(self) -> Kind:
        """What the numbers of `tensor` are."""
        return self.kind if self.before is None else _AFTER_CUT[self.kind]

    @property
    def ending(self) -> str:
        """What happens to the end of the graph, for people."""
        if self.before is not None:
            return "its last operator is cut off, so that a temperature divides logits"
        return _KEPT.get(self.kind, "taken as logits")


def score_outputs(model: onnx.ModelProto) -> list[ScoreOutput]:
    """Return the outputs that hold floats, behind a ZipMap too. Raises ForeignModelRefused."""
    made_by = producers(model.graph)
    sources = []
    for value in model.graph.output:
        node = made_by.get(value.name)
        if node is not None and node.op_type == "ZipMap":
            sources.append(ScoreOutput(value.name, first_input(node), _zipped_labels(node)))
        elif value.type.tensor_type.elem_type in (*_FLOATS, 0) and not value.type.HasField(
            "sequence_type"
        ):
            sources.append(ScoreOutput(value.name, value.name, _sibling_labels(model, value.name)))
    if not sources:
        names = ", ".join(f"'{value.name}'" for value in model.graph.output)
        raise ForeignModelRefused(
            f"none of its outputs ({names}) holds numbers for classes, only labels: export the "
            "probabilities too"
        )
    return sources


def _zipped_labels(node: onnx.NodeProto) -> tuple[str, ...]:
    for attribute in node.attribute:
        if attribute.name == "classlabels_strings" and attribute.strings:
            return tuple(each.decode("utf-8", "replace") for each in attribute.strings)
        if attribute.name == "classlabels_int64s" and attribute.ints:
            return tuple(str(each) for each in attribute.ints)
    return ()


def _sibling_labels(model: onnx.ModelProto, tensor: str) -> tuple[str, ...] | None:
    """Return the class names of an ai.onnx.ml classifier that gives this tensor as its scores."""
    made_by = producers(model.graph)
    node = made_by.get(tensor)
    while node is not None and node.domain != "ai.onnx.ml" and node.op_type in SAME_ORDER:
        node = made_by.get(first_input(node))
    if node is None or node.domain != "ai.onnx.ml":
        return None
    return _zipped_labels(node) or None


def per_image(values: Array, images: int, output: str) -> Array:
    """Return an output as (N, K). Raises ForeignModelRefused if it is no list of scores."""
    shape = list(values.shape)
    inner = shape[1:] if shape and shape[0] == images else shape
    wide = sum(size > 1 for size in inner)
    shown = f"'{output}' {shape}"
    if wide > 1:
        is_map = wide > 2 or len(inner) >= 3
        kind = (
            "a map, as of a segmentation"
            if is_map
            else "several rows for each image, as of a detector"
        )
        raise ForeignModelRefused(
            f"its output {shown} is {kind}, no score for each class: Candor serves classifiers of "
            "whole images"
        )
    if values.size == 0 or values.size % images:
        raise ForeignModelRefused(
            f"its output {shown} does not hold the same number of scores for each of {images} "
            "images"
        )
    return np.asarray(values.reshape(images, -1), np.float64)


def read_scores(
    model: onnx.ModelProto, source: ScoreOutput, scores: npt.NDArray[np.float64], *, exclusive: bool
) -> ClassScores:
    """Tell the kind of scores (N, K) of probe images. Raises ForeignModelRefused."""
    if not np.isfinite(scores).all():
        raise ForeignModelRefused(
            f"its output '{source.output}' is not finite for ordinary images: the file is damaged"
        )
    last, count = behind(model, source.tensor), scores.shape[1]
    ends = CUTTABLE.get(last.op_type) if last is not None else None
    before = first_input(last) if ends and last is not None else None
    shares = bool(scores.min() >= -1e-6 and scores.max() <= 1 + 1e-3)
    bounded = shares and (last is None or last.op_type not in LINEAR)
    if count == 1:
        kind: Kind = "binary probability" if ends == "sigmoid" or bounded else "binary logit"
        return ClassScores(source, kind, 2, before if ends == "sigmoid" else None)
    if shares and np.abs(scores.sum(axis=1) - 1).max() < SUMS_TO_ONE:
        cut = before if ends == "softmax" else None
        return ClassScores(source, "probabilities", count, cut)
    if ends == "sigmoid" or (bounded and scores.max() > 0):
        if not exclusive:
            raise ForeignModelRefused(
                f"its output '{source.output}' gives each of {count} classes a probability of its "
                "own, so it is a multi-label model. If each image has exactly one of these "
                "classes, add --exclusive"
            )
        return ClassScores(source, "independent", count, before if ends == "sigmoid" else None)
    return ClassScores(source, "logits", count)


def own_probabilities(scores: npt.NDArray[np.float64], kind: Kind) -> npt.NDArray[np.float64]:
    """Return the model's own probabilities (N, K), rows of sum 1, from its output (N, K or 1)."""
    if kind in ("logits", "independent logits"):
        return softmax(scores)
    if kind == "probabilities":
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))
    if kind == "binary logit":
        return softmax(np.hstack([np.zeros_like(scores), scores]))
    if kind == "binary probability":
        return np.hstack([1 - scores, scores])
    floor = floor_of(scores.shape[1])
    return softmax(
        np.log(np.maximum(scores, 0) + floor) - np.log(np.maximum(1 - scores, 0) + floor)
    )


def floor_of(count: int) -> float:
    """Return what is added to each of `count` probabilities so that its logarithm is finite."""
    return min(FLOOR, 1e-4 / count)


def choose_output(
    sizes: Mapping[ScoreOutput, int], classes: int | None, wished: str | None, *, folders: int = 0
) -> ScoreOutput:
    """Return the output with the class scores. `sizes`: outputs, and their scores per image.

    Where several fit, one with as many scores as there are `folders` of labeled images is taken.

    Raises ForeignModelUnclear if several fit equally, ForeignModelRefused if none does.
    """
    names = ", ".join(f"'{each.output}' ({count} per image)" for each, count in sizes.items())
    if wished is not None:
        if named := [each for each in sizes if each.output == wished]:
            return named[0]
        raise ForeignModelRefused(f"it has no output '{wished}' with class scores; it has {names}")
    if len(sizes) == 1:
        return next(iter(sizes))  # the number of classes is compared with the names later
    fitting = {
        each: count
        for each, count in sizes.items()
        if classes is None or count == classes or (count == 1 and classes == 2)
    }
    if not fitting:
        raise ForeignModelRefused(
            f"none of its outputs has {classes} scores per image, one for each class; it has "
            f"{names}"
        )
    if len(set(fitting.values())) > 1:
        fitting = {each: count for each, count in fitting.items() if count == folders}
    if not fitting:
        raise ForeignModelUnclear(
            f"several of its outputs may be class scores: {names}. Give --output NAME, or the "
            "class names"
        )
    return min(fitting, key=_unlikely)


def _unlikely(source: ScoreOutput) -> int:
    """Rank outputs of equal size: a ZipMap or names that say so first."""
    if source.labels:
        return -1
    words = ("prob", "softmax", "logit", "score", "class", "output", "loss")
    matches = (at for at, word in enumerate(words) if word in source.output.lower())
    return next(matches, len(words))
