"""Tensors of the protocol: a request's images, a batch's outputs."""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan, prod
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from hosting.errors import MalformedRequest
from model_store.bundle.card import Card
from serving.http.items import numbered
from serving.inference.batcher import Image
from serving.inference.prediction import ScopeVerdict

INPUT: Final = "image"
_LENGTH: Final = struct.Struct("<I")
Array: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class InputTensor:
    """`elements` are raw UINT8 values (n,), or the byte strings of a BYTES tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: npt.NDArray[np.uint8] | list[bytes]


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """An output: FP32 float32 or BYTES objects, of `array.shape`."""

    name: str
    datatype: str
    array: Array


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The answer for one image; `probabilities` are (K,), calibrated `by` an AnswerCalibrator or a
    FindingsCalibrator. `verdict` is of the scope check, if the graph has one.
    """

    prediction_id: str
    probabilities: Sequence[float]
    by: Any
    verdict: ScopeVerdict | None = None


class TensorAnswerWriter:
    """Writes answers as ImageResults, for transports that send tensors."""

    def write(
        self, prediction_id: str, _request_id: str | None, values: Sequence[float], by: Any
    ) -> ImageResult:
        return ImageResult(prediction_id, values, by)

    def scoped(self, answer: ImageResult, verdict: ScopeVerdict) -> ImageResult:
        """See batcher.AnswerWriter. What is withheld or refused is not a number."""
        kept = answer.probabilities
        shown = kept if verdict.then == "answer" else [nan] * len(kept)
        return replace(answer, verdict=verdict, probabilities=shown)


class Output(NamedTuple):
    """An output of a model: its datatype, its elements for an image, and their value there.

    `size` None: one, in a tensor [N]; else in a tensor [N, size].
    """

    datatype: str
    size: int | None
    of: Callable[[ImageResult], Any]


_OF_SCOPE: Final = {
    "scope": Output("BYTES", None, lambda result: result.verdict.scope if result.verdict else ""),
    "scope_p": Output("FP32", None, lambda result: result.verdict.p if result.verdict else nan),
}


def outputs_of(card: Card) -> dict[str, Output]:
    """The outputs of a model: with calibrators of subgroups, also the tags of the chosen one."""
    count = len(card.classes)
    same = {
        "probabilities": Output("FP32", count, lambda result: result.probabilities),
        "prediction_id": Output("BYTES", None, lambda result: result.prediction_id),
    }
    said = _OUTPUTS[card.kind](card)
    if not any(each.calibration.subgroups for each in card.answers):
        del said["calibrator"]
    return same | said | (_OF_SCOPE if card.scope else {})


def properties_of(card: Card) -> dict[str, str]:
    """What the columns of `probabilities` are. The values are texts."""
    named = {"kind": card.kind, "classes": json.dumps(card.classes)}
    thresholds = [each.threshold for each in card.asked]
    return named | ({"thresholds": json.dumps(thresholds)} if thresholds else {})


def _of_classes(card: Card) -> dict[str, Output]:
    def predicted(result: ImageResult) -> str:
        if isnan(result.probabilities[0]):
            return ""
        return card.classes[int(np.argmax(result.probabilities))]

    return {
        "confidence": Output("FP32", None, lambda result: max(result.probabilities)),
        "predicted": Output("BYTES", None, predicted),
        "calibrator": Output("BYTES", None, lambda result: result.by.name or ""),
    }


def _of_findings(card: Card) -> dict[str, Output]:
    def present(result: ImageResult) -> list[str]:
        asked = zip(result.by.questions, result.probabilities, strict=True)
        return [each.name if each.said(p).present else "" for each, p in asked]

    def chosen(result: ImageResult) -> list[str]:
        return [each.by.name or "" for each in result.by.questions]

    count = len(card.classes)
    return {
        "present": Output("BYTES", count, present),
        "calibrator": Output("BYTES", count, chosen),
    }


_OUTPUTS: Final = {"classes": _of_classes, "findings": _of_findings}


def read_images(inputs: Sequence[InputTensor], card: Card, *, limit: int) -> list[bytes | Image]:
    """A request's images, at most `limit`, encoded or (C, H, W). Raises MalformedRequest."""
    if len(inputs) != 1 or inputs[0].name != INPUT:
        names = ", ".join(each.name[:50] for each in inputs[:5]) or "none"
        raise MalformedRequest(f"the inputs are: {names}; send exactly one, named {INPUT!r}.")
    tensor = inputs[0]
    if not tensor.shape or not 1 <= tensor.shape[0] <= limit:
        raise MalformedRequest(
            f"the shape is {list(tensor.shape)}; send 1 to {limit} images in one request."
        )
    if tensor.datatype == "BYTES":
        return _encoded(tensor)
    if tensor.datatype == "UINT8":
        return _pixels(tensor, card)
    raise MalformedRequest(
        f"the datatype of {INPUT!r} is {tensor.datatype[:20]!r}; send UINT8 (pixels) or BYTES "
        "(encoded images)."
    )


def request_ids(identity: str | None, count: int) -> list[str | None]:
    """The request ids of `count` images of the request `identity`: the same id for one image,
    numbered ids for several.

    Raises MalformedRequest if the numbered ids would be too long for a label to name them.

    >>> request_ids("a", 1), request_ids("a", 2), request_ids(None, 2)
    (['a'], ['a/0', 'a/1'], [None, None])
    """
    return [identity or None] if count == 1 else numbered(identity, range(count))


def outputs(
    results: Sequence[ImageResult], card: Card, *, wanted: Sequence[str]
) -> list[OutputTensor]:
    """The `wanted` outputs of a batch, or all. Raises MalformedRequest for an unknown one."""
    known = outputs_of(card)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise MalformedRequest(
            f"there is no output {unknown[0][:50]!r}; the outputs are: {', '.join(known)}."
        )
    return [
        OutputTensor(name, known[name].datatype, _array(known[name], results))
        for name in wanted or known
    ]


def raw_elements(
    datatype: str, data: bytes | memoryview, *, limit: int
) -> npt.NDArray[np.uint8] | list[bytes]:
    """The elements of a raw tensor, of BYTES at most `limit`. Raises MalformedRequest."""
    if datatype != "BYTES":
        return np.frombuffer(data, np.uint8)
    elements: list[bytes] = []
    at = 0
    while at < len(data):
        check_count(len(elements) + 1, limit)
        if at + _LENGTH.size > len(data):
            raise MalformedRequest("a BYTES tensor ends within the length prefix of an element.")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + size
        if at > len(data):
            raise MalformedRequest(
                f"a BYTES tensor ends {at - len(data)} bytes before its last element does."
            )
        elements.append(bytes(data[at - size : at]))
    return elements


def check_count(elements: int, limit: int) -> None:
    """Raise MalformedRequest if a BYTES tensor has more elements than `limit`."""
    if elements > limit:
        raise MalformedRequest(
            f"a BYTES tensor has over {limit} elements; send 1 to {limit} images."
        )


def raw(output: OutputTensor) -> bytes:
    """The bytes of an output: row-major, little endian; byte strings after their lengths."""
    if output.datatype != "BYTES":
        return output.array.astype("<f4").tobytes()
    texts: Any = output.array.ravel().tolist()
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def _array(output: Output, results: Sequence[ImageResult]) -> Array:
    values = [output.of(result) for result in results]
    if output.datatype == "FP32":
        return np.array(values, np.float32)
    rows = [[text.encode() for text in each] for each in values] if output.size else None
    return np.array(rows or [text.encode() for text in values], np.object_)


def _encoded(tensor: InputTensor) -> list[bytes | Image]:
    count = prod(tensor.shape)
    if (
        count != tensor.shape[0]
        or not isinstance(tensor.elements, list)
        or len(tensor.elements) != count
    ):
        raise MalformedRequest(
            f"the shape {list(tensor.shape)} does not fit {len(tensor.elements)} encoded images; "
            "send [N] or [N, 1]."
        )
    return list(tensor.elements)


def _pixels(tensor: InputTensor, card: Card) -> list[bytes | Image]:
    spec = card.input
    expected = (tensor.shape[0], spec.channels, spec.height, spec.width)
    if tensor.shape != expected:
        raise MalformedRequest(
            f"the shape is {list(tensor.shape)}; {card.name} takes [N, {spec.channels}, "
            f"{spec.height}, {spec.width}]."
        )
    values = tensor.elements
    if not isinstance(values, np.ndarray) or values.size != prod(expected):
        raise MalformedRequest(
            f"the tensor has {len(values)} values; its shape {list(expected)} needs "
            f"{prod(expected)}."
        )
    return list(values.reshape(expected))
