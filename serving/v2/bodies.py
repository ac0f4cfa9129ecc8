"""The Open Inference Protocol's JSON as types; fields that it may add are ignored."""

from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

Parameters: TypeAlias = Annotated[
    dict[str, Any], Meta(description="free-form, as the protocol defines it")
]
Name: TypeAlias = Annotated[str, Meta(max_length=200)]
Size: TypeAlias = Annotated[int, Meta(lt=2**31)]


class RequestedInput(Struct, frozen=True, kw_only=True):
    """A tensor, whose elements are `data`, or follow the JSON in binary."""

    name: Annotated[Name, Meta(examples=["image"])]
    datatype: Annotated[str, Meta(max_length=20, examples=["UINT8", "BYTES"])]
    shape: Annotated[list[Size], Meta(max_length=8)]
    parameters: Parameters = {}
    data: Annotated[Any, Meta(description="base64 strings of a BYTES tensor")] = None


class RequestedOutput(Struct, frozen=True, kw_only=True):
    """An output that is wanted."""

    name: Annotated[Name, Meta(examples=["probabilities"])]
    parameters: Parameters = {}


class InferRequest(Struct, frozen=True, kw_only=True):
    """An inference request. Without `outputs` all are wanted."""

    inputs: Annotated[list[RequestedInput], Meta(max_length=16)]
    id: str | None = None
    parameters: Parameters = {}
    outputs: Annotated[list[RequestedOutput], Meta(max_length=16)] = []


class ResponseOutput(Struct, frozen=True, kw_only=True):
    """An output, whose elements are `data`, or follow the JSON in binary."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | UnsetType = UNSET
    data: list[float | str] | UnsetType = UNSET


class InferResponse(Struct, frozen=True, kw_only=True):
    """The outputs of an inference request."""

    model_name: str
    model_version: str
    outputs: list[ResponseOutput]
    id: str | UnsetType = UNSET


class InferError(Struct, frozen=True):
    """Why a request was refused, in a sentence."""

    error: str


class ServerLive(Struct, frozen=True):
    """Whether the process lives."""

    live: bool


class ServerReady(Struct, frozen=True):
    """Whether a model answers."""

    ready: bool


class ServerMetadata(Struct, frozen=True):
    """The server's name, version and extensions."""

    name: str
    version: str
    extensions: list[str]


class ModelReady(Struct, frozen=True):
    """Whether a model answers."""

    name: str
    ready: bool


class TensorMetadata(Struct, frozen=True):
    """A tensor that a model takes or gives; -1 stands for the number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct, frozen=True):
    """The loaded versions of a model, and its tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: Annotated[
        dict[str, str],
        Meta(
            description="`kind`: classes (exclusive) or findings; `classes`: their names in the "
            "order of the columns, as JSON; `thresholds`: from which each finding is present"
        ),
    ]
