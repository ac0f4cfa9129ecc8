"""Inference requests and responses over REST: JSON, followed by the tensors that are sent in binary.

Source: the protocol's binary tensor data extension. Binary tensors follow the JSON in the order in which it names them;
BYTES elements are prefixed by their length, four bytes little endian.
"""

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from monitoring.api.json_body import JsonReader, encode
from monitoring.errors import BodyNotJson
from serving.errors import MalformedRequest
from serving.http.request import request_id_of
from serving.v2.bodies import InferRequest, InferResponse, RequestedInput, ResponseOutput
from serving.v2.tensors import InputTensor, OutputTensor

HEADER: Final = "inference-header-content-length"
_LENGTH = struct.Struct("<I")
_REQUESTS = JsonReader(InferRequest, MalformedRequest, whole="The request")


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """An inference request: its id, its inputs, the outputs it wants (none: all), and which of those in binary."""

    id: str | None
    inputs: list[InputTensor]
    wanted: list[str]
    binary: frozenset[str]
    binary_by_default: bool

    def in_binary(self, name: str) -> bool:
        """Whether output `name` is wanted in binary."""
        return name in self.binary if self.wanted else self.binary_by_default


def read_request(body: bytes, header_length: str | None) -> ReadRequest:
    """The request in `body`, whose first `header_length` bytes are JSON (all, if None). Raises MalformedRequest."""
    size = _header_size(header_length, len(body))
    read = _decoded(body[:size])
    binary = body[size:]
    inputs = []
    for each in read.inputs:
        tensor, binary = _tensor(each, binary)
        inputs.append(tensor)
    if binary:
        raise MalformedRequest(f"{len(binary)} bytes follow the last binary tensor; check every binary_data_size.")
    by_default = read.parameters.get("binary_data_output") is True
    wanted = [each.name for each in read.outputs]
    chosen = [each.name for each in read.outputs if each.parameters.get("binary_data", by_default) is True]
    return ReadRequest(request_id_of(read.id), inputs, wanted, frozenset(chosen), by_default)


def write_response(
    model: str, version: int, request: ReadRequest, outputs: Sequence[OutputTensor]
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
                data=UNSET if binary is not None else [_plain(value) for value in output.array.ravel().tolist()],
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


def raw(output: OutputTensor) -> bytes:
    """The bytes of an output: row-major, little endian; byte strings after their lengths."""
    if output.datatype == "BYTES":
        texts: Any = output.array.ravel().tolist()
        return b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    return output.array.astype("<f4").tobytes()


def split_bytes(data: bytes) -> list[bytes]:
    """The elements of a raw BYTES tensor. Raises MalformedRequest."""
    elements, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise MalformedRequest("a BYTES tensor ends within the length prefix of an element.")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + size
        if at > len(data):
            raise MalformedRequest(f"a BYTES tensor ends {at - len(data)} bytes before its last element does.")
        elements.append(data[at - size : at])
    return elements


def _decoded(body: bytes) -> InferRequest:
    try:
        return _REQUESTS.read(body)
    except BodyNotJson as error:
        raise MalformedRequest(f"this is not an inference request. {error}") from None


def _header_size(header_length: str | None, total: int) -> int:
    if header_length is None:
        return total
    if not header_length.isascii() or not header_length.isdigit() or not int(header_length[:12]) <= total:
        raise MalformedRequest(f"{HEADER} is {header_length[:20]!r}; the body has {total} bytes.")
    return int(header_length)


def _tensor(read: RequestedInput, binary: bytes) -> tuple[InputTensor, bytes]:
    """One input, and what is left of the binary part after it."""
    size = read.parameters.get("binary_data_size")
    if size is None:
        elements = _json_elements(read)
        rest = binary
    else:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary):
            raise MalformedRequest(f"binary_data_size is {size!r}; {len(binary)} bytes are left in the body.")
        data, rest = binary[:size], binary[size:]
        elements = split_bytes(data) if read.datatype == "BYTES" else np.frombuffer(data, np.uint8)
    return InputTensor(read.name, read.datatype, tuple(read.shape), elements), rest


def _json_elements(read: RequestedInput) -> npt.NDArray[np.uint8] | list[bytes]:
    """Elements from JSON: numbers, nested or flat, or base64 strings for BYTES."""
    if read.datatype == "BYTES":
        values = read.data if isinstance(read.data, list) else []
        try:
            return [base64.b64decode(value, validate=True) for value in values]
        except (binascii.Error, TypeError, ValueError):
            raise MalformedRequest(
                "the elements of a BYTES tensor in JSON must be base64 strings; or send the tensor in binary."
            ) from None
    try:
        numbers = np.asarray(read.data, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    pixels = numbers.astype(np.uint8, casting="unsafe") if _bytes_like(numbers) else None
    if pixels is None:
        raise MalformedRequest(f"the data of {read.name!r} must be whole numbers from 0 to 255 in a regular array.")
    return pixels


def _bytes_like(numbers: npt.NDArray[np.float64]) -> bool:
    return bool(np.all((numbers >= 0) & (numbers <= 255) & (numbers == np.floor(numbers))))


def _plain(value: float | bytes) -> float | str:
    return value.decode() if isinstance(value, bytes) else value
