"""One replica: the application of `candor serve`, run by Ray Serve in a process of its own.

The routes, the admission, the batches, the ledger and the errors are those of a single server,
because the objects are the same. Ray calls the application with requests, and its lifespan when the
replica begins and ends. Its metrics have a listener of their own (`metrics_listener`), because
requests through Ray's proxies reach any replica.
"""

import asyncio
from contextlib import ExitStack
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.error_pages import application, send_error
from console.monitor import open_monitor
from hosting.errors import MetricsElsewhere, NotReady, ServingError
from hosting.listener import allow_many_connections, process_registry
from hosting.logs import configure_logging
from hosting.middleware import with_middlewares
from hosting.settings import Settings
from monitoring.http.endpoint import bind
from serving.cluster.front import REPLICA, unmarked
from serving.cluster.metric_targets import TARGETS, TargetRoutes
from serving.cluster.metrics_listener import MetricsListener
from serving.cluster.placed_settings import PlacedSettings
from serving.deployment.loaded_models import LoadedModels
from serving.process.server import Service

NO_FRONT: Final = (
    "Ray Serve ran on this cluster before Candor did, so that its proxies lack Candor's "
    "middleware; run `serve shutdown` there, then `candor serve --engine ray` again."
)


class ReplicaApp:
    """The ASGI application of one replica. Build it on the event loop that calls it."""

    def __init__(self, settings: Settings) -> None:
        """Open the ledger and build the service, without loading a model."""
        configure_logging(settings.log_level)
        allow_many_connections()
        registry = process_registry()
        models = LoadedModels()
        self._opened = ExitStack()
        monitor = self._opened.enter_context(
            open_monitor(settings, registry, production=models.production)
        )
        self._service = Service(settings, registry, monitor, models)
        self._metrics = MetricsListener(registry, self._service.access, settings)
        self._targets = _targets_app(self._service, settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def from_replica(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (REPLICA, b"yes")]}
            await send(message)

        headers = unmarked(list(scope["headers"]))
        request = {**scope, "headers": headers or [], "extensions": {}}
        refusal = _refusal(request["path"], passed_front=headers is not None)
        if refusal is not None:
            await self._service.prediction_app.refuse(request, receive, from_replica, refusal)
            return
        app = self._targets if request["path"] == TARGETS.path else self._service.app
        await app(request, receive, from_replica)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Load the models before Ray sends requests, and close everything after the last one."""
        await receive()
        await asyncio.to_thread(self._service.watcher.try_scan)
        self._service.start()
        self._metrics.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._metrics.stop()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        self._service.close()
        self._opened.close()


def _refusal(path: str, *, passed_front: bool) -> ServingError | None:
    if not passed_front:
        return NotReady(NO_FRONT)
    return MetricsElsewhere() if path.rstrip("/") == "/metrics" else None


def _targets_app(service: Service, settings: Settings) -> ASGIApp:
    return with_middlewares(
        application(bind([TARGETS], TargetRoutes())),
        settings,
        endpoints=[TARGETS],
        access=service.access,
        refuse=send_error,
    )


def build_app(placed: PlacedSettings) -> ReplicaApp:
    return ReplicaApp(placed.here())
