"""The outputs of a foreign graph, and which of them holds the scores: the one that is as wide as
there are classes, or what the caller says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from calibration.wording import parameter
from model_store.errors import ForeignModelRefused, ForeignModelUnclear
from model_store.foreign.surgery import behind, first_input, producers

Array = npt.NDArray[Any]
_FLOATS: Final = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class ScoreOutput:
    """Where class scores are.

    Attributes:
        output: its name; names with commas if several outputs have one score each.
        tensors: the tensors with its numbers.
        labels: what a ZipMap calls the classes.
    """

    output: str
    tensors: tuple[str, ...]
    labels: tuple[str, ...] = ()


Rows = Mapping[ScoreOutput, npt.NDArray[np.float64]]


def score_outputs(model: onnx.ModelProto) -> list[ScoreOutput]:
    """Return the outputs that hold floats, behind a ZipMap too. Raises ForeignModelRefused."""
    made_by, found = producers(model.graph), []
    for value in model.graph.output:
        node = made_by.get(value.name)
        if node is not None and node.op_type == "ZipMap":
            found.append(ScoreOutput(value.name, (first_input(node),), _zipped(node)))
        elif value.type.tensor_type.elem_type in (*_FLOATS, 0) and not value.type.HasField(
            "sequence_type"
        ):
            found.append(ScoreOutput(value.name, (value.name,)))
    names = ", ".join(f"'{value.name}'" for value in model.graph.output)
    if not found:
        raise ForeignModelRefused(
            f"none of its outputs ({names}) holds numbers for classes, only labels: export the "
            "probabilities too"
        )
    if not (kept := [each for each in found if not _is_sorted(model, each.tensors[0])]):
        raise ForeignModelRefused(
            f"its outputs ({names}) hold the largest scores in order (TopK), and not one for each "
            "class: export the model without TopK"
        )
    return kept


def _zipped(node: onnx.NodeProto) -> tuple[str, ...]:
    """Return the names that a ZipMap gives to its scores."""
    for attribute in node.attribute:
        if attribute.name == "classlabels_strings":
            return tuple(each.decode("utf-8", "replace") for each in attribute.strings)
        if attribute.name == "classlabels_int64s":
            return tuple(map(str, attribute.ints))
    return ()


def _is_sorted(model: onnx.ModelProto, tensor: str) -> bool:
    """Whether scores come out of a TopK, so that their places say nothing of classes."""
    node = behind(model, tensor)
    if node is not None and node.op_type in ("Softmax", "Sigmoid"):
        node = behind(model, first_input(node))
    return node is not None and node.op_type == "TopK"


def per_image(values: Array, images: int, output: str) -> Array:
    """Return an output as (N, K). Raises ForeignModelRefused if it is no list of scores."""
    shape = list(values.shape)
    inner = shape[1:] if shape and shape[0] == images else shape
    if sum(side > 1 for side in inner) > 1:
        raise ForeignModelRefused(
            f"its output '{output}' {shape} is no score for each class, but several rows for each "
            "image, as of a detector, or a map, as of a segmentation: Candor serves classifiers of "
            "whole images. Of an ensemble, export the mean of its members; of a softmax for each "
            "finding, export the second column"
        )
    if values.size == 0 or values.size % images:
        raise ForeignModelRefused(
            f"its output '{output}' {shape} does not hold the same number of scores for each of "
            f"{images} images"
        )
    return np.asarray(values.reshape(images, -1), np.float64)


def choose_output(rows: Rows, *, classes: int | None, wished: Sequence[str]) -> ScoreOutput:
    """Return the output with the scores, or several of one score each as one.

    `rows` are the scores (N, K) that each output gives for probe images, `classes` how many there
    are, if known, and `wished` the outputs that the caller names.

    Raises ForeignModelUnclear if several or none fit, ForeignModelRefused if `wished` do not.
    """
    sizes = {each.output: values.shape[1] for each, values in rows.items()}
    shown = ", ".join(f"'{name}' ({size} per image)" for name, size in sizes.items())
    if wished:
        return _wished({each.output: each for each in rows}, sizes, wished, shown)
    widths = (1, 2) if classes == 2 else (classes,)
    fitting = [each for each in rows if classes is None or sizes[each.output] in widths]
    if len(rows) == 1 or len(fitting) == 1:
        return (fitting or list(rows))[0]  # the number of classes is compared with the names later
    raise ForeignModelUnclear(
        f"it has several outputs: {shown}. Give {parameter('output')} with the one that holds the "
        "scores of the classes, or with several of one score each, in the order of the classes"
    )


def _wished(
    outputs: Mapping[str, ScoreOutput], sizes: Mapping[str, int], wished: Sequence[str], shown: str
) -> ScoreOutput:
    if missing := [name for name in wished if name not in outputs]:
        raise ForeignModelRefused(
            f"it has no output '{missing[0]}' with class scores; it has {shown}"
        )
    if len(wished) == 1:
        return outputs[wished[0]]
    if any(sizes[name] > 1 for name in wished):
        raise ForeignModelRefused(
            f"several outputs were given, which must have one score each; it has {shown}"
        )
    return ScoreOutput(", ".join(wished), tuple(outputs[name].tensors[0] for name in wished))
