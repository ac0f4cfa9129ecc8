"""The rare routes: liveness, readiness, what is loaded, an index page, and what monitoring mounts here."""

from collections.abc import Callable, Sequence
from importlib.metadata import version as installed_version
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from monitoring.pages.rendering import render
from monitoring.routes.exposition import MetricsRoute
from serving.deployment.loaded_models import LoadedModel, LoadedModels
from serving.deployment.store_watcher import Refusal
from serving.http.error_handlers import ERROR_HANDLERS
from serving.inference.served_version import ServedVersion
from serving.openapi.document import document
from serving.openapi.page import page


def rare_routes(
    *,
    loaded: LoadedModels,
    refused: Callable[[], dict[str, Refusal]],
    draining: Callable[[], bool],
    ready: Callable[[], bool],
    mounted: Sequence[BaseRoute],
) -> Starlette:
    """The Starlette application behind the hot route; `mounted` are monitoring's routes (or `metrics_alone`)."""

    async def ping(_: Request) -> Response:
        return JSONResponse({"status": "Healthy" if ready() else "Unhealthy"}, 200 if ready() else 503)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        refusals = _refusals(refused())
        if not ready():
            reason = "the server is shutting down." if draining() else "no model is loaded."
            return JSONResponse({"error": "not_ready", "detail": reason, "refused": refusals}, 503)
        versions = {name: model.production.card.version for name, model in loaded.by_name().items()}
        return JSONResponse({"status": "ready", "models": versions, "refused": refusals})

    async def models(_: Request) -> Response:
        return JSONResponse(
            {
                "models": [_describe(name, model) for name, model in loaded.by_name().items()],
                "refused": _refusals(refused()),
            }
        )

    async def model(request: Request) -> Response:
        name, version = request.path_params["model"], request.path_params.get("version")
        served = loaded.find(name, None if version == "all" else version)
        chosen = loaded.by_name()[name].answering if version == "all" else {served.card.version: served}
        return JSONResponse([_torchserve(each) for each in chosen.values()])

    async def index(request: Request) -> Response:
        return HTMLResponse(_index_page(request.app.routes, loaded.by_name()))

    described = document(installed_version("candor"))

    async def openapi(_: Request) -> Response:
        return JSONResponse(described)

    async def docs(_: Request) -> Response:
        return HTMLResponse(page(described))

    routes: list[BaseRoute] = [
        Route("/docs", docs),
        Route("/openapi.json", openapi),
        Route("/", index),
        Route("/ping", ping),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/models", models),
        Route("/models/{model}", model),
        Route("/models/{model}/{version}", model),
        Route("/predictions/{model}", _post_only, methods=["GET", "DELETE", "PATCH"], include_in_schema=False),
        *mounted,
    ]
    return Starlette(routes=routes, exception_handlers=ERROR_HANDLERS)


def metrics_alone(registry: CollectorRegistry) -> list[BaseRoute]:
    """GET /metrics, for a server without a ledger, where monitoring has nothing else to mount."""
    return [Route("/metrics", MetricsRoute(registry).get)]


async def _post_only(_: Request) -> Response:
    raise HTTPException(405, headers={"Allow": "POST, PUT"})


def _describe(name: str, model: LoadedModel) -> dict[str, Any]:
    versions = [
        {
            "version": version,
            "classes": list(served.card.classes),
            "input": served.card.input.model_dump(mode="json"),
            "temperature": served.card.calibration.temperature,
            "backbone": served.card.provenance.backbone,
            "loss": served.card.provenance.loss,
        }
        for version, served in model.answering.items()
    ]
    torchserve = {"modelName": name, "modelUrl": f"{name}.mar"}
    return torchserve | {"name": name, "production": model.production.card.version, "versions": versions}


def _torchserve(served: ServedVersion) -> dict[str, Any]:
    """A version as TorchServe's management API describes it, with what it has to say here."""
    card = served.card
    ready = {"id": f"{card.name}-{card.version}", "status": "READY", "gpu": not served.on_cpu}
    return {
        "modelName": card.name,
        "modelVersion": str(card.version),
        "modelUrl": f"{card.name}.mar",
        "runtime": "onnxruntime",
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": served.max_batch,
        "maxBatchDelay": 0,
        "loadedAtStartup": True,
        "workers": [ready],
    }


def _refusals(refused: dict[str, Refusal]) -> dict[str, dict[str, Any]]:
    return {name: {"version": refusal.version, "reason": refusal.reason} for name, refusal in refused.items()}


def _index_page(routes: Sequence[BaseRoute], loaded: dict[str, LoadedModel]) -> str:
    """A page without assets: what is loaded and where to look."""
    endpoints = [
        (method, route.path)
        for route in routes
        if isinstance(route, Route) and route.include_in_schema
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]
    endpoints.append(("POST", "/predictions/{model}[/{version}]"))
    models = [(name, model.production.card.version) for name, model in loaded.items()]
    return render("server.html", models=models, endpoints=endpoints)
