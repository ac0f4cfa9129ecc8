"""The routes of `candor serve` besides those of monitoring and the Open Inference Protocol.

The hot route, POST /predictions, is declared here too, but answered before the router
(serving/http/prediction.py).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypeAlias

from msgspec import UNSET, Meta
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console.api_page import with_description
from console.endpoints import page
from console.error_pages import application
from console.rendering import answer_page, render
from hosting.error_table import NOT_READY, PREDICTION_ERRORS
from hosting.errors import ModelNotLoaded, NotReady, VersionNotLoaded
from hosting.health import HEALTHZ, LifeRoute, health_check
from model_store.bundle.card import Card
from monitoring.http.endpoint import JSON, Endpoint, as_json, bind, read_viewer
from serving.deployment.loaded_models import LoadedModel, LoadedModels
from serving.deployment.store_watcher import Refusal
from serving.http.bodies import (
    Base64,
    Binary,
    EncodedImage,
    FindingsPrediction,
    ImageForm,
    ImageRefused,
    ListedFinding,
    ListedModel,
    ListedVersion,
    ModelInput,
    ModelListing,
    NotReadyBody,
    PingStatus,
    Prediction,
    Ready,
    RefusedBundle,
    TorchServeModel,
    TorchServeWorker,
)
from serving.http.items import NDJSON
from serving.http.prediction import PredictionApp
from serving.http.request_parameters import HEADERS, PredictionParameters
from serving.inference.served_version import ServedVersion


class ServerRoutes:
    def __init__(
        self,
        *,
        loaded: LoadedModels,
        refused: Callable[[], Mapping[str, Refusal]],
        doubts: Callable[[], dict[str, str]],
        unready: Callable[[], str],
    ) -> None:
        self._loaded, self._refused, self._doubts = loaded, refused, doubts
        self._unready = unready

    async def ping(self, _: Request) -> PingStatus | Response:
        if self._unready():
            return as_json(PingStatus("Unhealthy"), status=NOT_READY)
        return PingStatus("Healthy")

    async def readyz(self, _: Request) -> Ready | Response:
        if reason := self._unready():
            body = NotReadyBody("not_ready", reason, self._refused_bundles())
            return as_json(body, status=NOT_READY)
        return Ready(self._production(), self._refused_bundles(), self._doubts())

    async def models(self, _: Request) -> ModelListing:
        listed = [_listed_model(name, model) for name, model in self._loaded.by_name().items()]
        return ModelListing(listed, self._refused_bundles())

    async def model(self, request: Request) -> list[TorchServeModel]:
        name, version = request.path_params["model"], request.path_params.get("version")
        served = self._loaded.find(name, None if version == "all" else version)
        loaded = self._loaded.by_name()[name].answering.values() if version == "all" else [served]
        return [_torchserve_model(each) for each in loaded]

    async def index(self, request: Request) -> Response:
        """The loaded models, on a server without monitoring."""
        models, viewer = list(self._production().items()), read_viewer(request)
        return answer_page(render("server.html", models=models, viewer=viewer))

    def _production(self) -> dict[str, int]:
        models = self._loaded.by_name().items()
        return {
            name: model.production.card.version
            for name, model in models
            if model.production.stopped is None
        }

    def _refused_bundles(self) -> dict[str, RefusedBundle]:
        return {
            name: RefusedBundle(refusal.version, refusal.reason)
            for name, refusal in self._refused().items()
        }


Answer: TypeAlias = Prediction | FindingsPrediction
_PREDICTION = tuple(
    Endpoint(
        method="POST",
        path=path,
        handler=PredictionApp.__call__,
        mounted=False,
        tag="predictions",
        summary="Classify an image, or several. Several images, or frames, are answered by a "
        "list, with errors in it.",
        scope="predict",
        takes={
            "image/*": Binary,
            "application/dicom": Binary,
            "application/octet-stream": Binary,
            "multipart/form-data": ImageForm,
            JSON: Annotated[list[Base64 | EncodedImage], Meta(min_length=1)],
            NDJSON: Base64 | EncodedImage,
        },
        gives={JSON: Answer | list[Answer | ImageRefused], NDJSON: Answer | ImageRefused},
        query=PredictionParameters,
        headers=HEADERS,
        refuses=tuple(PREDICTION_ERRORS),
    )
    for path in ("/predictions/{model}", "/predictions/{model}/{version}")
)
_MODEL: Final = tuple(
    Endpoint(
        method="GET",
        path=path,
        handler=ServerRoutes.model,
        scope="read",
        tag="models",
        summary="A model as TorchServe's management API describes it; version `all` gives every "
        "loaded one.",
        refuses=(ModelNotLoaded, VersionNotLoaded, NotReady),
    )
    for path in ("/models/{model}", "/models/{model}/{version}")
)
ENDPOINTS: Final = (
    page("/", ServerRoutes.index, scope="read"),
    *_PREDICTION,
    Endpoint(
        method="GET",
        path="/models",
        scope="read",
        handler=ServerRoutes.models,
        tag="models",
        summary="What is loaded, and what was refused and why.",
    ),
    *_MODEL,
    HEALTHZ,
    health_check(
        path="/readyz",
        handler=ServerRoutes.readyz,
        summary="Whether a model is loaded, and predictions can be recorded.",
        otherwise={NOT_READY: NotReadyBody},
        refuses=(NotReady,),
    ),
    health_check(
        path="/ping",
        handler=ServerRoutes.ping,
        summary="TorchServe's health check.",
        otherwise={NOT_READY: PingStatus},
    ),
)


def build_router(routes: ServerRoutes, mounted: Sequence[Endpoint]) -> Starlette:
    """The application behind the hot route. `mounted` are the endpoints of other rooms."""
    mounted_paths = {each.path for each in mounted}  # monitoring has a first page of its own
    own = [each for each in bind(ENDPOINTS, routes, LifeRoute()) if each.path not in mounted_paths]
    endpoints = with_description([*mounted, *own])  # /models/{model}/report before a version's
    other_methods = Route("/predictions/{model}", _PostOnly(), include_in_schema=False)
    return application(endpoints, other_methods)


class _PostOnly:
    """Refuses every other method; a function would be a route of GET."""

    async def __call__(self, *_: object) -> None:
        raise HTTPException(405, headers={"Allow": "POST, PUT"})


def _listed_model(name: str, model: LoadedModel) -> ListedModel:
    versions = [_listed_version(served.card) for served in model.answering.values()]
    return ListedModel(name, f"{name}.mar", name, model.production.card.version, versions)


def _listed_version(card: Card) -> ListedVersion:
    listed = {
        each.name: ListedFinding(
            each.threshold, each.calibration.temperature, each.calibration.method
        )
        for each in card.asked
    }
    return ListedVersion(
        card.version,
        card.kind,
        card.classes,
        ModelInput(**card.input.model_dump()),
        card.temperature,
        card.method,
        card.provenance.backbone,
        card.provenance.loss,
        listed or UNSET,
    )


def _torchserve_model(served: ServedVersion) -> TorchServeModel:
    """A version as TorchServe's management API describes it, as far as that applies here."""
    card = served.card
    return TorchServeModel(
        model_name=card.name,
        model_version=f"{card.version}.0",
        model_url=f"{card.name}.mar",
        runtime="onnxruntime",
        min_workers=1,
        max_workers=1,
        batch_size=served.max_batch,
        max_batch_delay=0,
        loaded_at_startup=True,
        workers=[TorchServeWorker(f"{card.name}-{card.version}", "READY", not served.on_cpu)],
    )
