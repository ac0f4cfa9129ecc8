"""The protocol's gRPC messages as requests to its REST routes, and the answers as messages."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import msgspec
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from open_inference.grpc import protocol

from serving.errors import MalformedRequest
from serving.v2.rest_body import HEADER
from serving.v2.tensors import NUMBERS_LIMIT, packed

INFER: Final = "ModelInfer"
# By call. {model} stands for the path of a model, with its version if one is asked for.
_PATHS: Final = {
    "ServerLive": "/v2/health/live",
    "ServerReady": "/v2/health/ready",
    "ServerMetadata": "/v2",
    "ModelReady": "{model}/ready",
    "ModelMetadata": "{model}",
    INFER: "{model}/infer",
}
CALLS: Final = tuple(_PATHS)
NAME_LIMIT: Final = 200
SLICE: Final = 2**16  # values


@dataclass(frozen=True, slots=True)
class RestCall:
    """A request to a REST route. Its body is JSON of `header_bytes`, and binary tensors."""

    path: str
    body: bytes = b""
    header_bytes: int = 0

    @property
    def method(self) -> str:
        return "POST" if self.path.endswith("/infer") else "GET"

    @property
    def headers(self) -> dict[str, str]:
        """Those that say where the tensors begin."""
        return {HEADER: str(self.header_bytes)} if self.body else {}


def read_call(name: str, data: bytes) -> RestCall:
    """What the message `data` of a call asks of REST. Raises MalformedRequest."""
    if name == INFER:
        check_fields(data)
    kind = getattr(protocol, f"{name}Request")
    try:
        request = kind.FromString(data)
    except DecodeError:
        raise MalformedRequest(f"this is not a {kind.__name__}.") from None
    if name == INFER:
        path = _PATHS[name].format(model=_model(request.model_name, request.model_version))
        return RestCall(path, *_infer_body(request))
    given = getattr(request, "name", ""), getattr(request, "version", "")
    return RestCall(_PATHS[name].format(model=_model(*given)))


def write_answer(name: str, body: bytes, header_length: str | None) -> Any:
    """The message that a REST route's answer makes."""
    size = len(body) if header_length is None else int(header_length)
    answer, kind = msgspec.json.decode(body[:size]), getattr(protocol, f"{name}Response")
    if name == INFER:
        at, raws = size, []
        for output in answer["outputs"]:
            end = at + output.pop("parameters")["binary_data_size"]
            raws.append(body[at:end])
            at = end
        answer["raw_output_contents"] = raws
    fields = kind.DESCRIPTOR.fields_by_name
    return kind(**{field: value for field, value in answer.items() if field in fields})


def _model(name: str, version: str) -> str:
    path = f"/v2/models/{_segment(name)}"
    return f"{path}/versions/{_segment(version)}" if version else path


def _segment(text: str) -> str:
    """A part of a path; what names nothing stays unknown there."""
    return "-" if text in ("", ".", "..") else quote(text[:NAME_LIMIT], safe="")


def _infer_body(request: Any) -> tuple[bytes, int]:
    raws = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise MalformedRequest(
            f"{len(request.inputs)} inputs but {len(raws)} raw contents; send one for each, or "
            "none."
        )
    tensors = raws or [_contents(tensor) for tensor in request.inputs]
    parameters = {key: _value(value) for key, value in request.parameters.items()}
    head = {
        "id": request.id,
        "parameters": parameters | {"binary_data_output": True},
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": {"binary_data_size": len(data)},
            }
            for tensor, data in zip(request.inputs, tensors, strict=True)
        ],
        "outputs": [{"name": output.name} for output in request.outputs],
    }
    encoded = msgspec.json.encode(head)
    return b"".join([encoded, *tensors]), len(encoded)


def _value(parameter: Any) -> Any:
    return getattr(parameter, parameter.WhichOneof("parameter_choice") or "string_param")


def _contents(tensor: Any) -> bytes:
    """The elements of a tensor that is not sent raw, as raw ones. Raises MalformedRequest."""
    if tensor.datatype == "BYTES":
        return packed(tensor.contents.bytes_contents)
    return _numbers(tensor.contents.uint_contents, tensor.name).tobytes()


def _numbers(values: Any, name: str) -> npt.NDArray[np.uint8]:
    """The values of a UINT8 tensor, in slices, between which other threads run."""
    if len(values) > NUMBERS_LIMIT:
        raise MalformedRequest(f"the tensor has {len(values):,} values; send it as raw contents.")
    slices = [
        np.array(values[start : start + SLICE], np.int64) for start in range(0, len(values), SLICE)
    ]
    if any(np.any(each > 255) for each in slices):
        raise MalformedRequest(f"the values of {name[:50]!r} are not all from 0 to 255.")
    return np.concatenate([np.empty(0, np.uint8), *(each.astype(np.uint8) for each in slices)])


FIELDS_LIMIT: Final = 10_000
INPUTS, CONTENTS = (
    5,
    5,
)  # field numbers: of the inputs in a ModelInferRequest, and of the contents in an input
_DEPTH: Final = 2
_VARINT, _LONG, _BYTES, _SHORT = 0, 1, 2, 5  # wire types


def check_fields(data: bytes) -> None:
    """Raise MalformedRequest for over FIELDS_LIMIT fields, and for what is no protobuf."""
    _count(data, 0, len(data), depth=0, left=FIELDS_LIMIT)


def _count(data: bytes, at: int, end: int, *, depth: int, left: int) -> int:
    """How many more fields are allowed after those from `at` to `end`."""
    while at < end:
        left -= 1
        if left < 0:
            raise MalformedRequest(
                f"the request holds over {FIELDS_LIMIT:,} fields; send tensors as raw contents."
            )
        key, at = _varint(data, at, end)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _LONG:
            at += 8
        elif kind == _SHORT:
            at += 4
        elif kind == _BYTES:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise MalformedRequest("this is not a protobuf message.")
            if depth < _DEPTH and key >> 3 == (INPUTS, CONTENTS)[depth]:
                left = _count(data, at, at + size, depth=depth + 1, left=left)
            at += size
        else:
            raise MalformedRequest("this is not a protobuf message.")
    return left


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedRequest("this is not a protobuf message.")
