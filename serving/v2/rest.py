"""The protocol's REST routes: health, metadata, inference. Errors are {"error": sentence}, as it wants them."""

import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import version as installed_version
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from serving.error_table import INTERNAL, error_answer
from serving.errors import ClientGone, Overloaded
from serving.http.caller import AsgiCaller
from serving.http.request import read_body, read_head
from serving.inference.metrics import ServingMetrics
from serving.settings import Settings
from serving.v2.body import HEADER, read_request, write_response
from serving.v2.service import InferenceService

logger = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def v2_routes(
    service: InferenceService, *, settings: Settings, metrics: ServingMetrics, ready: Callable[[], bool]
) -> list[BaseRoute]:
    """Every route of the protocol, below /v2."""

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def server_ready(_: Request) -> Response:
        return JSONResponse({"ready": ready()}, 200 if ready() else 503)

    async def server(_: Request) -> Response:
        return JSONResponse(server_metadata())

    async def model_ready(request: Request) -> Response:
        service.find(*_named(request))
        return JSONResponse({"name": request.path_params["model"], "ready": ready()}, 200 if ready() else 503)

    async def model(request: Request) -> Response:
        return JSONResponse(service.metadata(*_named(request)))

    async def infer(request: Request) -> Response:
        head = read_head(request.scope["headers"], limit_bytes=settings.max_body_bytes)
        served = service.find(*_named(request), canary=head.canary)
        with served.lease():
            served.queue.admit(settings.deadline_s)
            body = await read_body(
                request.receive, limit_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s
            )
            asked = read_request(body, request.headers.get(HEADER))
            identity = asked.id or head.request_id
            found = await service.infer(
                served,
                asked.inputs,
                asked.wanted,
                identity=identity,
                tags=head.tags,
                caller=AsgiCaller(request.receive),
            )
        content, length = write_response(served.card.name, served.card.version, asked, found)
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={HEADER: str(length)})

    def guarded(handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except ClientGone:
                metrics.rejected.labels("client_gone").inc()
                return Response(status_code=499)
            except Exception as error:  # noqa: BLE001  the request's edge: the table of errors knows what to say
                return _refusal(request, error, metrics)

        return answer

    model_path, version_path = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    return [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", server_ready),
        *(Route(path, guarded(model)) for path in (model_path, version_path)),
        *(Route(f"{path}/ready", guarded(model_ready)) for path in (model_path, version_path)),
        *(Route(f"{path}/infer", guarded(infer), methods=["POST"]) for path in (model_path, version_path)),
    ]


def server_metadata() -> dict[str, Any]:
    """The server's name, version and extensions."""
    return {"name": "candor", "version": installed_version("candor"), "extensions": ["binary_tensor_data"]}


def _named(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")


def _refusal(request: Request, error: Exception, metrics: ServingMetrics) -> Response:
    refused = error_answer(error)
    metrics.rejected.labels(refused.code).inc()
    fields = {"path": request.url.path[:200], "status": refused.status, "error": refused.code, "detail": refused.detail}
    if refused is INTERNAL:
        logger.error("request failed", extra={"fields": fields}, exc_info=error)
    elif not isinstance(error, Overloaded):
        logger.info("request refused", extra={"fields": fields})
    response = JSONResponse({"error": refused.detail}, refused.status)
    response.raw_headers.extend(refused.headers)
    return response
