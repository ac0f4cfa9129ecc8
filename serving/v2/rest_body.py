"""Inference requests and responses over REST: JSON, followed by the tensors that are sent in
binary.

Source: the protocol's binary tensor data extension. Binary tensors follow the JSON in the order in
which it names them; BYTES elements are prefixed by their length, four bytes little endian.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, Meta

from hosting.errors import MalformedRequest
from model_store.image import FrameChoice
from monitoring.http.json_body import check_keys, encode, has_long_numbers
from serving.http.items import decode_base64
from serving.http.request import patient_of, read_frame, request_id_of
from serving.v2.bodies import InferRequest, InferResponse, RequestedInput, ResponseOutput
from serving.v2.tensors import (
    InputTensor,
    OutputTensor,
    check_count,
    raw,
    raw_elements,
)

HEADER: Final = "inference-header-content-length"
# Counted before anything is parsed, because parsers build an object for each value.
TEXTS_PER_IMAGE: Final = 4
SPARE_TEXTS: Final = 500
_LONG_BYTES: Final = 1_000


class _RawInput(RequestedInput, frozen=True, kw_only=True):
    """An input whose data stay text until their type is known."""

    data: msgspec.Raw = msgspec.Raw(b"null")


class _RawRequest(InferRequest, frozen=True, kw_only=True):
    inputs: Annotated[list[_RawInput], Meta(max_length=16)]  # type: ignore[assignment]


_REQUEST: Final = msgspec.json.Decoder(_RawRequest)
_TEXTS: Final = msgspec.json.Decoder(list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class RestRequest:
    """A request's id, inputs, the outputs that it wants (none: all) and which of them in binary,
    the frames that it chooses of its only image, and the patient of all its images.
    """

    id: str | None
    inputs: Sequence[InputTensor]
    wanted: Sequence[str]
    frame: FrameChoice | None = None
    patient: str | None = None
    binary: frozenset[str]
    binary_by_default: bool

    def in_binary(self, name: str) -> bool:
        return name in self.binary if self.wanted else self.binary_by_default


def read_request(body: bytes, header_length: str | None, *, limit: int) -> RestRequest:
    """The request in `body`, whose first `header_length` bytes are JSON (all, if None), of at most
    `limit` images.

    Raises MalformedRequest.
    """
    size = _header_size(header_length, len(body))
    read = _decoded(body[:size], limit)
    binary = memoryview(body)[size:]
    inputs = []
    for each in read.inputs:
        tensor, binary = _tensor(each, binary, limit)
        inputs.append(tensor)
    if binary:
        raise MalformedRequest(
            f"{len(binary)} bytes follow the last binary tensor; check every binary_data_size."
        )
    by_default = read.parameters.get("binary_data_output") is True
    wanted = [each.name for each in read.outputs]
    chosen = [
        each.name for each in read.outputs if each.parameters.get("binary_data", by_default) is True
    ]
    frame, patient = read_parameters(read.parameters.get)
    return RestRequest(
        id=request_id_of(read.id),
        inputs=inputs,
        wanted=wanted,
        frame=frame,
        patient=patient,
        binary=frozenset(chosen),
        binary_by_default=by_default,
    )


def read_parameters(given: Callable[[str], Any]) -> tuple[FrameChoice | None, str | None]:
    """What the parameters `frame` and `patient` say, each a number or text.

    `given` returns a parameter's value, None without one. Raises MalformedRequest.
    """
    values = (given("frame"), given("patient"))
    frame, patient = (None if value is None else str(value) for value in values)
    return read_frame(frame), patient_of(patient)


def write_response(
    model: str, version: int, request: RestRequest, outputs: Sequence[OutputTensor]
) -> tuple[bytes, int | None]:
    """The response's body, and the length of its JSON if binary tensors follow it."""
    described: list[ResponseOutput] = []
    blobs: list[bytes] = []
    for output in outputs:
        binary = raw(output) if request.in_binary(output.name) else None
        described.append(
            ResponseOutput(
                name=output.name,
                datatype=output.datatype,
                shape=list(output.array.shape),
                parameters=UNSET if binary is None else {"binary_data_size": len(binary)},
                data=UNSET
                if binary is not None
                else [_plain(value) for value in output.array.ravel().tolist()],
            )
        )
        blobs += [] if binary is None else [binary]
    head = InferResponse(
        model_name=model,
        model_version=str(version),
        outputs=described,
        id=UNSET if request.id is None else request.id,
    )
    encoded = encode(head)
    return encoded + b"".join(blobs), len(encoded) if blobs else None


def _decoded(body: bytes, limit: int) -> _RawRequest:
    texts = TEXTS_PER_IMAGE * limit + SPARE_TEXTS
    is_much = body.count(b'"') > 2 * texts or max(body.count(b"{"), body.count(b",")) > 2 * texts
    if is_much or has_long_numbers(body):
        raise MalformedRequest(
            f"the request holds over {texts:,} values, or long numbers; send the tensor in binary."
        )
    try:
        read = _REQUEST.decode(body)
        check_keys(_without_images(body, read))
        return read
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedRequest(f"this is not an inference request. {error}.") from None


def _without_images(body: bytes, read: _RawRequest) -> bytes:
    """The request without long texts, which would take a parser long; none of them has keys."""
    for each in read.inputs:
        if len(data := bytes(each.data)) > _LONG_BYTES:
            body = body.replace(data, b"null")
    return body


def _header_size(header_length: str | None, total: int) -> int:
    if header_length is None:
        return total
    if (
        not header_length.isascii()
        or not header_length.isdigit()
        or not int(header_length[:12]) <= total
    ):
        raise MalformedRequest(f"{HEADER} is {header_length[:20]!r}; the body has {total} bytes.")
    return int(header_length)


def _tensor(read: _RawInput, binary: memoryview, limit: int) -> tuple[InputTensor, memoryview]:
    """One input, and what is left of the binary part after it."""
    size = read.parameters.get("binary_data_size")
    if size is None:
        elements: npt.NDArray[np.uint8] | list[bytes] = _json_elements(read, limit)
        rest = binary
    else:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
            raise MalformedRequest(
                f"binary_data_size is {size!r}; {len(binary)} bytes are left in the body."
            )
        data, rest = binary[:size], binary[size:]
        elements = raw_elements(read.datatype, data, limit=limit)
    return InputTensor(read.name, read.datatype, tuple(read.shape), elements), rest


def _json_elements(read: _RawInput, limit: int) -> list[bytes]:
    """The elements of a BYTES tensor from JSON, base64 strings."""
    if read.datatype != "BYTES":
        raise MalformedRequest(
            f"the elements of {read.name!r} are not taken as numbers in JSON; send the tensor in "
            "binary (binary_data_size), or encoded images as BYTES."
        )
    try:
        texts = _TEXTS.decode(read.data)
        check_count(len(texts), limit)
        return [decode_base64(text) for text in texts]
    except (msgspec.MsgspecError, ValueError) as error:
        if isinstance(error, MalformedRequest):
            raise
        raise MalformedRequest(
            "the elements of a BYTES tensor in JSON must be base64 strings; or send the tensor in "
            "binary."
        ) from None


def _plain(value: float | bytes) -> float | str:
    return value.decode() if isinstance(value, bytes) else value
