"""The protocol's REST routes. An error is {"error": sentence}, as it says."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from hosting.caller import Caller, read_body
from hosting.error_table import NOT_READY, PREDICTION_ERRORS, error_answer, log_error
from hosting.errors import (
    ClientGone,
    MalformedRequest,
    ModelNotLoaded,
    NotReady,
    Overloaded,
    VersionNotLoaded,
)
from hosting.settings import Settings
from model_store.installation import release
from monitoring.http.body_budget import LIST_COPIES, BodyBudget
from monitoring.http.endpoint import JSON, Endpoint, Header, as_json
from monitoring.http.json_body import SMALL_BYTES
from serving.deployment.loaded_models import LoadedModels
from serving.http.bodies import Binary
from serving.http.items import ImageItem, items_of, with_keys
from serving.http.pipeline import InferencePipeline
from serving.http.request import RequestHead, read_head
from serving.http.request_parameters import HEADERS
from serving.inference.batcher import Image
from serving.inference.metrics import ServingMetrics
from serving.inference.served_version import ServedVersion
from serving.v2.bodies import (
    InferError,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
)
from serving.v2.rest_body import HEADER, RestRequest, read_request, write_response
from serving.v2.tensors import (
    INPUT,
    OutputTensor,
    TensorAnswerWriter,
    outputs,
    outputs_of,
    properties_of,
    read_images,
    request_ids,
)

_Handler: TypeAlias = Callable[["ProtocolRoutes", Request], Awaitable[Any]]
BYTES: Final = "application/octet-stream"
PLATFORM: Final = "candor_onnxruntime"


def _guarded(handler: _Handler) -> _Handler:
    """Answer the handler's errors as the protocol wants them."""

    @functools.wraps(handler)
    async def answer(self: "ProtocolRoutes", request: Request) -> Any:
        try:
            return await handler(self, request)
        except ClientGone:
            self.metrics.rejected.labels("client_gone").inc()
            raise
        except Exception as error:  # noqa: BLE001  the edge of the request: the table of errors decides what the client sees
            refused = error_answer(error)
            self.metrics.rejected.labels(refused.code).inc()
            request.state.error = refused.code
            if not isinstance(error, Overloaded):
                log_error(request.url.path, refused, error)
            response = as_json(InferError(refused.detail), status=refused.status)
            response.raw_headers.extend(refused.headers)
            return response

    return answer


class ProtocolRoutes:
    def __init__(
        self,
        *,
        models: LoadedModels,
        pipeline: InferencePipeline,
        settings: Settings,
        metrics: ServingMetrics,
        ready: Callable[[], bool],
        bodies: BodyBudget,
    ) -> None:
        self.metrics, self._bodies = metrics, bodies
        self._models, self._pipeline = models, pipeline
        self._settings, self._ready = settings, ready
        self._reading = asyncio.Lock()

    async def live(self, _: Request) -> ServerLive:
        return ServerLive(True)

    async def server_ready(self, _: Request) -> ServerReady | Response:
        return ServerReady(True) if self._ready() else as_json(ServerReady(False), status=NOT_READY)

    async def server(self, _: Request) -> ServerMetadata:
        return server_metadata()

    @_guarded
    async def model_ready(self, request: Request) -> ModelReady | Response:
        self._models.find(*_named(request))
        found = ModelReady(request.path_params["model"], self._ready())
        return found if found.ready else as_json(found, status=NOT_READY)

    @_guarded
    async def model(self, request: Request) -> ModelMetadata:
        return self._metadata(*_named(request))

    def _metadata(self, model: str, version: str | None) -> ModelMetadata:
        card = self._models.find(model, version).card
        spec = card.input
        return ModelMetadata(
            name=card.name,
            versions=[str(number) for number in self._models.by_name()[model].answering],
            platform=PLATFORM,
            inputs=[TensorMetadata(INPUT, "UINT8", [-1, spec.channels, spec.height, spec.width])],
            outputs=[
                TensorMetadata(name, each.datatype, [-1] if each.size is None else [-1, each.size])
                for name, each in outputs_of(card).items()
            ],
            properties=properties_of(card),
        )

    async def _read(self, body: bytes, header_length: str | None) -> RestRequest:
        """The request; a long one is read in a thread, one at a time."""
        read = functools.partial(read_request, body, header_length, limit=self._settings.max_items)
        if len(body) <= SMALL_BYTES:
            return read()
        async with self._reading:
            return await to_thread.run_sync(read)

    @_guarded
    async def infer(self, request: Request) -> Response:
        settings = self._settings
        head = read_head(request.scope["headers"], limit_bytes=settings.max_body_bytes)
        find = self._models.find
        request.state.served = served = find(*_named(request), canary=head.canary, key=head.key)
        with served.lease():
            served.load.admit(head.deadline_s)
            async with self._bodies.hold(
                head.length_bytes, copies=LIST_COPIES, wait_s=head.deadline_s
            ) as hold:
                body = await read_body(
                    request.receive,
                    limit_bytes=settings.max_body_bytes,
                    timeout_s=settings.body_timeout_s,
                    hold=hold,
                )
                asked = await self._read(body, request.headers.get(HEADER))
                caller = Caller(request.receive)
                outputs = await self._outputs(served, asked, head, caller)
        content, length = write_response(served.card.name, served.card.version, asked, outputs)
        if length is None:
            return Response(content, media_type=JSON)
        return Response(content, media_type=BYTES, headers={HEADER: str(length)})

    async def _outputs(
        self, served: ServedVersion, asked: RestRequest, head: RequestHead, caller: Caller
    ) -> list[OutputTensor]:
        """The outputs for a request's images, or for the chosen frames of its only one.

        One bad image fails all: the protocol has no errors of single images. Of several, one that
        the scope check refuses has no confidence instead: each says whether it is in scope.
        """
        card, spec = served.card, served.spec
        images = read_images(asked.inputs, card, limit=self._settings.max_items)
        outputs([], card, wanted=asked.wanted)  # refuse an unknown one before anything is computed
        identity, patient = asked.id or head.request_id, asked.patient or head.patient
        if asked.frame is None:
            ids = request_ids(identity, len(images))
            with self._pipeline.spans.decoding(served):
                pixels = await self._pipeline.decode_many(images, spec)
            sent = [ImageItem(image, tags=head.tags, patient=patient) for image in images]
            items = [
                replace(
                    await self._pipeline.identified(item, spec), data=image, request_id=request_id
                )
                for item, image, request_id in zip(sent, pixels, ids, strict=True)
            ]
            items = with_keys(items, head.once)
        else:
            item = ImageItem(
                _sole(images), identity, tags=head.tags, patient=patient, key=head.once
            )
            with self._pipeline.spans.decoding(served):
                frames = await self._pipeline.decoder.decode_frames(
                    item.encoded, spec, asked.frame, deadline_s=head.deadline_s
                )
            item = await self._pipeline.identified(item, spec, head.deadline_s)
            items = items_of(frames, item, asked.frame)
        results = await self._pipeline.answer_many(
            served, items, caller=caller, writer=TensorAnswerWriter(), deadline_s=head.deadline_s
        )
        for result in results:
            if isinstance(result, Exception):
                raise result
        if len(results) == 1 and (verdict := results[0].verdict) and verdict.refusal:
            raise verdict.refusal
        return outputs(results, card, wanted=asked.wanted)


_endpoint = functools.partial(Endpoint, tag="open inference", method="GET")
_FIND: Final = (ModelNotLoaded, VersionNotLoaded, NotReady)
_SERVER: Final = (
    _endpoint(
        path="/v2",
        handler=ProtocolRoutes.server,
        scope="read",
        summary="Name, version and extensions.",
    ),
    _endpoint(
        path="/v2/health/live",
        handler=ProtocolRoutes.live,
        summary="Whether the process lives.",
        scope=None,
    ),
    _endpoint(
        path="/v2/health/ready",
        handler=ProtocolRoutes.server_ready,
        summary="Whether a model answers.",
        scope=None,
        otherwise={NOT_READY: ServerReady},
    ),
)


def _of_model(path: str) -> tuple[Endpoint, ...]:
    binary = Header(HEADER, int, "the length of the JSON that binary tensors follow")
    return (
        _endpoint(
            path=path,
            scope="read",
            handler=ProtocolRoutes.model,
            summary="Metadata of a model.",
            refuses=_FIND,
            error=InferError,
        ),
        _endpoint(
            path=f"{path}/ready",
            scope="read",
            handler=ProtocolRoutes.model_ready,
            summary="Whether a model answers.",
            otherwise={NOT_READY: ModelReady | InferError},
            refuses=_FIND,
            error=InferError,
        ),
        _endpoint(
            method="POST",
            path=f"{path}/infer",
            handler=ProtocolRoutes.infer,
            summary="Infer tensors or encoded images; tensors may follow the JSON in binary.",
            scope="predict",
            takes={JSON: InferRequest, BYTES: Binary},
            gives={JSON: InferResponse, BYTES: Binary},
            headers=(binary, *HEADERS),
            refuses=tuple(PREDICTION_ERRORS),
            error=InferError,
        ),
    )


ENDPOINTS: Final = (
    *_SERVER,
    *_of_model("/v2/models/{model}"),
    *_of_model("/v2/models/{model}/versions/{version}"),
)


def server_metadata() -> ServerMetadata:
    return ServerMetadata("candor", release(), ["binary_tensor_data"])


def _named(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")


def _sole(images: Sequence[bytes | Image]) -> bytes:
    """The only image, encoded. Raises MalformedRequest."""
    if len(images) != 1 or not isinstance(images[0], bytes):
        raise MalformedRequest("the parameter `frame` is for a single encoded image (BYTES).")
    return images[0]
