"""The outputs of a foreign graph, and which of them holds the scores: the one that is as wide as
there are classes, or what the caller says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from calibration.wording import parameter
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.surgery import behind, first_input, join, producers

HEADS: Final = "heads"
BEFORE: Final = "heads_before"

End = Literal["softmax", "sigmoid"]
Array = npt.NDArray[Any]
_FLOATS: Final = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
CUTTABLE: Final[dict[str, End]] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


@dataclass(frozen=True)
class ScoreOutput:
    """An output that may hold class scores, the tensor with its numbers, a ZipMap's names.

    `heads`: the tensors of several outputs, one score each, that `tensor` joins; `before` joins
    what stands before their sigmoids, if all have one.
    """

    output: str
    tensor: str
    labels: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    before: str | None = None


Rows = Mapping[ScoreOutput, npt.NDArray[np.float64]]


def score_outputs(model: onnx.ModelProto) -> list[ScoreOutput]:
    """Return the outputs that hold floats, behind a ZipMap too. Raises ForeignModelRefused."""
    made_by = producers(model.graph)
    sources = []
    for value in model.graph.output:
        node = made_by.get(value.name)
        if node is not None and node.op_type == "ZipMap":
            sources.append(ScoreOutput(value.name, first_input(node), _zipped(node)))
        elif value.type.tensor_type.elem_type in (*_FLOATS, 0) and not value.type.HasField(
            "sequence_type"
        ):
            sources.append(ScoreOutput(value.name, value.name))
    kept = [each for each in sources if not _is_sorted(model, each.tensor)]
    if sources and not kept:
        raise ForeignModelRefused(
            f"its output '{sources[0].output}' holds the largest scores in order (TopK), and not "
            "one for each class: export the model without TopK"
        )
    if not kept:
        names = ", ".join(f"'{value.name}'" for value in model.graph.output)
        raise ForeignModelRefused(
            f"none of its outputs ({names}) holds numbers for classes, only labels: export the "
            "probabilities too"
        )
    return kept


def _zipped(node: onnx.NodeProto) -> tuple[str, ...]:
    """Return the names that a ZipMap gives to its scores."""
    for attribute in node.attribute:
        if attribute.name == "classlabels_strings":
            return tuple(each.decode("utf-8", "replace") for each in attribute.strings)
        if attribute.name == "classlabels_int64s":
            return tuple(str(each) for each in attribute.ints)
    return ()


def _is_sorted(model: onnx.ModelProto, tensor: str) -> bool:
    """Whether scores come out of a TopK, so that their places say nothing of classes."""
    node = behind(model, tensor)
    if node is not None and node.op_type in CUTTABLE:
        node = behind(model, first_input(node))
    return node is not None and node.op_type == "TopK"


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
        remedy = "; of an ensemble, export the mean of its members" * (wide == 2)
        remedy += "; of a softmax for each finding, export the second column" * (inner[-1] == 2)
        raise ForeignModelRefused(
            f"its output {shown} is {kind}, no score for each class: Candor serves classifiers of "
            f"whole images{remedy}"
        )
    if values.size == 0 or values.size % images:
        raise ForeignModelRefused(
            f"its output {shown} does not hold the same number of scores for each of {images} "
            "images"
        )
    return np.asarray(values.reshape(images, -1), np.float64)


def choose_output(
    rows: Rows, *, names: Sequence[str], classes: int | None, wished: Sequence[str]
) -> tuple[ScoreOutput, ...]:
    """Return the output with the scores, or several of one score each that belong together.

    `rows` are the scores (N, K) that each output gives for probe images, `names` and `classes`
    those of the model, if known, and `wished` the outputs that the caller names. Outputs of one
    score each belong together if they are called as the names.

    Raises ForeignModelUnclear if several or none fit, ForeignModelRefused if `wished` do not.
    """
    sizes = {each.output: values.shape[1] for each, values in rows.items()}
    shown = ", ".join(f"'{name}' ({size} per image)" for name, size in sizes.items())
    if wished:
        return _wished(rows, wished, shown)
    if len(rows) == 1:
        return tuple(rows)  # the number of classes is compared with the names later
    heads = {each.output.casefold(): each for each in rows if sizes[each.output] == 1}
    if len(heads) > 1 and set(heads) == {name.casefold() for name in names}:
        return tuple(heads[name.casefold()] for name in names)
    widths = (1, 2) if classes == 2 else (classes,)
    fitting = [each for each in rows if classes is None or sizes[each.output] in widths]
    if len(fitting) == 1:
        return (fitting[0],)
    raise ForeignModelUnclear(
        f"it has several outputs: {shown}. Give {parameter('output')} with the one that holds the "
        "scores of the classes, or with several of one score each, in the order of the classes"
    )


def join_heads(
    model: onnx.ModelProto, heads: Sequence[ScoreOutput]
) -> tuple[onnx.ModelProto, ScoreOutput]:
    """Return a copy of the graph with a tensor [N, K] that joins outputs of one score each."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = [each.tensor for each in heads]
    join(copy, tensors, HEADS)
    lasts = [behind(model, each) for each in tensors]
    sigmoids = all(last is not None and CUTTABLE.get(last.op_type) == "sigmoid" for last in lasts)
    if sigmoids:
        join(copy, [first_input(last) for last in lasts if last is not None], BEFORE)
    output = ", ".join(each.output for each in heads)
    return copy, ScoreOutput(output, HEADS, (), tuple(tensors), BEFORE if sigmoids else None)


def _wished(rows: Rows, wished: Sequence[str], shown: str) -> tuple[ScoreOutput, ...]:
    by_name = {each.output: each for each in rows}
    missing = [name for name in wished if name not in by_name]
    if missing:
        raise ForeignModelRefused(
            f"it has no output '{missing[0]}' with class scores; it has {shown}"
        )
    chosen = tuple(by_name[name] for name in wished)
    if len(chosen) > 1 and any(rows[each].shape[1] > 1 for each in chosen):
        raise ForeignModelRefused(
            f"several outputs were given, which must have one score each; it has {shown}"
        )
    return chosen
