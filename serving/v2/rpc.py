"""The protocol's gRPC service on its own port; needs the extra `grpc`."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import msgspec
import numpy as np
import numpy.typing as npt
from anyio import to_thread
from google.protobuf.message import DecodeError
from grpc import StatusCode
from open_inference.grpc import protocol

from monitoring.errors import BodyTimeout
from monitoring.http.body_budget import BodyBudget
from serving.error_table import error_answer, log_error
from serving.errors import ListenError, MalformedRequest, ServingError
from serving.http.auth import AccessControl
from serving.http.caller import GrpcCaller
from serving.http.request import RequestHead, read_head, request_id_of
from serving.inference.metrics import ServingMetrics
from serving.settings import Settings
from serving.v2.rest import server_metadata
from serving.v2.rest_body import read_parameters
from serving.v2.service import InferenceService
from serving.v2.tensors import (
    NUMBERS_LIMIT,
    InferenceRequest,
    InputTensor,
    OutputTensor,
    check_count,
    raw,
    raw_elements,
)
from serving.v2.wire import check_fields

OPEN_CALLS: Final = frozenset({"ServerLive", "ServerReady"})  # as /v2/health/... in REST
Context: TypeAlias = Any  # grpc.aio.ServicerContext, whose package has no types


SERVICE: Final = "inference.GRPCInferenceService"
CALLS: Final = (
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelInfer",
)
SLICE: Final = 2**16  # values
STREAMS: Final = 100  # calls of a connection at a time


class Servicer:
    """Answers the protocol's calls by the same service as REST. Method names are the protocol's."""

    def __init__(
        self,
        inference: InferenceService,
        *,
        settings: Settings,
        metrics: ServingMetrics,
        ready: Callable[[], bool],
        bodies: BodyBudget,
    ) -> None:
        self._inference = inference
        self._bodies, self._settings = bodies, settings
        self._limit = settings.max_items
        self._metrics = metrics
        self._ready = ready

    async def ServerLive(self, _request: Any, _context: Context) -> Any:  # noqa: N802
        return protocol.ServerLiveResponse(live=True)

    async def ServerReady(self, _request: Any, _context: Context) -> Any:  # noqa: N802
        return protocol.ServerReadyResponse(ready=self._ready())

    async def ServerMetadata(self, _request: Any, _context: Context) -> Any:  # noqa: N802
        return protocol.ServerMetadataResponse(**msgspec.to_builtins(server_metadata()))

    async def ModelReady(self, request: Any, _context: Context) -> Any:  # noqa: N802
        self._inference.find(request.name, request.version)
        return protocol.ModelReadyResponse(ready=self._ready())

    async def ModelMetadata(self, request: Any, _context: Context) -> Any:  # noqa: N802
        metadata = self._inference.metadata(request.name, request.version)
        return protocol.ModelMetadataResponse(**msgspec.to_builtins(metadata))

    async def ModelInfer(self, request: Any, context: Context) -> Any:  # noqa: N802
        head = _head(context)
        served = self._inference.find(request.model_name, request.model_version, canary=head.canary)
        with served.lease():
            served.queue.admit(head.deadline_s)
            asked = await to_thread.run_sync(partial(read_request, request, limit=self._limit))
            outputs = await self._inference.infer(served, asked, head, GrpcCaller())
        return write_response(served.card.name, served.card.version, request.id, outputs)

    def handlers(self) -> grpc.GenericRpcHandler:
        """A handler for each call.

        They read the message themselves, as the only one of a stream, because grpc tells nobody how
        long a message is before it has read it. They parse it themselves, because grpc logs a trace
        for broken ones.
        """
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.stream_unary_rpc_method_handler(
                    partial(self._answer, getattr(self, name), getattr(protocol, f"{name}Request")),
                    response_serializer=_serialize,
                )
                for name in CALLS
            },
        )

    async def _answer(
        self,
        call: Callable[[Any, Context], Awaitable[Any]],
        kind: Any,
        _messages: Any,
        context: Any,
    ) -> Any:
        try:
            async with self._bodies.hold(self._settings.max_body_bytes, arrived=True):
                return await call(await self._read(kind, context), context)
        except Exception as error:  # noqa: BLE001  the edge of the call: the table of errors decides what the client sees
            return await _abort(context, error, self._metrics)

    async def _read(self, kind: Any, context: Any) -> Any:
        """The message. Raises BodyTimeout, BodiesFull or MalformedRequest."""
        timeout_s = self._settings.body_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                data = await context.read()
        except TimeoutError:
            raise BodyTimeout(
                f"the message did not arrive within {timeout_s:g} s; send it again, in one go."
            ) from None
        if data is grpc.aio.EOF:
            raise MalformedRequest("the call holds no message.")
        return _parse(kind, data)


def _parameter(request: Any, name: str) -> Any:
    """The value of a request's parameter; None without."""
    if name not in request.parameters:
        return None
    value = request.parameters[name]
    return getattr(value, value.WhichOneof("parameter_choice") or "string_param")


def _parse(kind: Any, data: bytes) -> Any:
    """The message. Raises MalformedRequest."""
    if kind is protocol.ModelInferRequest:
        check_fields(data)
    try:
        return kind.FromString(data)
    except DecodeError:
        raise MalformedRequest(f"this is not a {kind.__name__}.") from None


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())


class AccessInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # the package has no types
    """Asks `access` about each call's metadata, before its request is read."""

    def __init__(self, access: AccessControl, metrics: ServingMetrics) -> None:
        self._access, self._metrics = access, metrics

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], call: Any
    ) -> Any:
        """The handler of the call, or one that refuses it."""
        method = call.method.rpartition("/")[2]
        if method not in OPEN_CALLS:
            try:
                self._access.check_token(
                    _authorization(call), "predict" if method == "ModelInfer" else "read"
                )
            except ServingError as error:
                return grpc.stream_unary_rpc_method_handler(partial(self._refuse, error))
        return await continuation(call)

    async def _refuse(self, error: ServingError, _messages: Any, context: Context) -> None:
        address = context.peer().rpartition(":")[0]
        await self._access.refusals.pace(address, SERVICE, error)
        await _abort(context, error, self._metrics)


async def _abort(context: Context, error: Exception, metrics: ServingMetrics) -> None:
    refused = error_answer(error)
    metrics.rejected.labels(refused.code).inc()
    if refused.status >= 500:
        log_error("gRPC", refused, error)
    await context.abort(StatusCode[refused.grpc_status], refused.detail)


async def start_grpc(
    servicer: Servicer,
    settings: Settings,
    *,
    interceptor: AccessInterceptor,
    tls: tuple[Path, Path] | None = None,
) -> tuple[grpc.aio.Server, int]:
    """A running server on `settings.grpc_port`, and its port. Raises ListenError.

    `tls` are the files of the certificate chain and of its key; None: plain text.
    """
    limit = settings.max_body_bytes
    server = grpc.aio.server(
        interceptors=[interceptor],
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", STREAMS),
        ],
    )
    server.add_generic_rpc_handlers((servicer.handlers(),))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        port = _add_port(server, f"{host}:{settings.grpc_port}", tls)
    except (RuntimeError, OSError) as error:
        raise ListenError(
            f"cannot listen on {host}:{settings.grpc_port} for gRPC: {error}. Choose another "
            "CANDOR_GRPC_PORT."
        ) from error
    await server.start()
    return server, port


def _add_port(server: Any, address: str, tls: tuple[Path, Path] | None) -> int:
    if tls is None:
        return int(server.add_insecure_port(address))
    certificate, key = tls
    pair = (key.read_bytes(), certificate.read_bytes())
    return int(server.add_secure_port(address, grpc.ssl_server_credentials([pair])))


def read_request(request: Any, *, limit: int) -> InferenceRequest:
    """A ModelInferRequest of at most `limit` images. Raises MalformedRequest."""
    raws = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise MalformedRequest(
            f"{len(request.inputs)} inputs but {len(raws)} raw contents; send one for each, or "
            "none."
        )
    contents = raws or [None] * len(request.inputs)
    frame, patient = read_parameters(partial(_parameter, request))
    return InferenceRequest(
        id=request_id_of(request.id),
        inputs=[
            _input(tensor, content, limit)
            for tensor, content in zip(request.inputs, contents, strict=True)
        ],
        wanted=[output.name for output in request.outputs],
        frame=frame,
        patient=patient,
    )


def write_response(model: str, version: int, identity: str, outputs: list[OutputTensor]) -> Any:
    """A ModelInferResponse with raw contents."""
    return protocol.ModelInferResponse(
        model_name=model,
        model_version=str(version),
        id=identity,
        outputs=[
            protocol.ModelInferResponse.InferOutputTensor(
                name=output.name, datatype=output.datatype, shape=output.array.shape
            )
            for output in outputs
        ],
        raw_output_contents=[raw(output) for output in outputs],
    )


def _input(tensor: Any, content: bytes | None, limit: int) -> InputTensor:
    encoded = tensor.contents.bytes_contents
    if content is not None:
        elements = raw_elements(tensor.datatype, content, limit=limit)
    elif tensor.datatype == "BYTES":
        check_count(len(encoded), limit)
        elements = list(encoded)
    else:
        elements = _numbers(tensor.contents.uint_contents, tensor.name)
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), elements)


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


def _authorization(call: Any) -> bytes:
    return next(
        (
            value.encode()
            for name, value in call.invocation_metadata or ()
            if name == "authorization"
        ),
        b"",
    )


def _head(context: Context) -> RequestHead:
    """Metadata that correspond to HTTP headers; the call's deadline counts as one."""
    metadata = context.invocation_metadata() or ()
    relevant = (
        (name, value)
        for name, value in metadata
        if name.startswith(("x-candor-", "idempotency-key")) and isinstance(value, str)
    )
    head = read_head(((name.encode(), value.encode()) for name, value in relevant), limit_bytes=0)
    remaining_s = context.time_remaining()
    named_s = [seconds for seconds in (head.deadline_s, remaining_s) if seconds is not None]
    return replace(head, deadline_s=min(named_s, default=None))
