"""The process of `candor serve`: connects the parts, listens, follows the model store, and drains.

On SIGTERM or Ctrl-C it is no longer ready, keeps listening for a moment so that no request is lost,
answers everything admitted, closes the ledger and exits with 0. A second signal ends the process at
once; the ledger survives this as it survives kill -9.
"""

import asyncio
import contextlib
import gc
import logging
import math
import socket
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry

from console.api_page import ENDPOINTS as DESCRIPTION_ENDPOINTS
from console.error_pages import send_error
from console.monitor import Monitor, open_monitor
from console.routes import ENDPOINTS as PAGE_ENDPOINTS
from console.routes import server_pages
from hosting.auth import read_access
from hosting.errors import ModelUnusable, ProbesDiffer
from hosting.http_server import DrainingServer, end_process, run
from hosting.listener import (
    address,
    allow_many_connections,
    announce,
    announce_missing_store,
    listen,
    process_registry,
)
from hosting.middleware import with_middlewares
from hosting.paced_lines import flush_lines
from hosting.settings import Settings
from hosting.steps import start
from hosting.token_file import keep_sessions, keep_tokens
from model_store.bundle.bundle import Bundle
from monitoring.http.endpoint import Endpoint, bind
from monitoring.recording.recorder import Recorder
from monitoring.routes import ENDPOINTS as MONITORING_ENDPOINTS
from monitoring.routes import METRICS
from monitoring.routes.exposition import MetricsRoute
from serving.deployment.loaded_models import LoadedModels
from serving.deployment.store_watcher import StoreWatcher
from serving.http.pipeline import InferencePipeline
from serving.http.prediction import PredictionApp
from serving.inference.answer import AuditSampler
from serving.inference.freed_memory import keep_returning_memory, share_freed_memory
from serving.inference.metrics import ServingMetrics
from serving.inference.prediction import ScopePolicy
from serving.inference.predictor import Predictor, open_predictor
from serving.inference.run_watch import MEMORY, RUNS
from serving.inference.served_version import ServedVersion
from serving.process.routes import ENDPOINTS as SERVER_ENDPOINTS
from serving.process.routes import ServerRoutes, build_router
from serving.trials.trials import ENDPOINTS as TRIAL_ENDPOINTS
from serving.trials.trials import TrialRoutes
from serving.v2.rest import ENDPOINTS as V2_ENDPOINTS
from serving.v2.rest import ProtocolRoutes

logger = logging.getLogger(__name__)

JOIN_S = 5.0
NOTHING_ANSWERED: Final = "no image is answered until there is one."
WARM_UP_S: Final = 1.0  # after the start, which it would slow down
ENDPOINTS: Final = (  # with a ledger
    *(*DESCRIPTION_ENDPOINTS, *TRIAL_ENDPOINTS, *PAGE_ENDPOINTS),
    *(*MONITORING_ENDPOINTS, *SERVER_ENDPOINTS, *V2_ENDPOINTS),
)


def serve(settings: Settings) -> int:
    """Serve until a signal arrives. Returns the exit code.

    Raises SettingsError before anything is opened, and ListenError before the
    ledger is, if an address cannot be listened on.
    """
    start(settings)
    allow_many_connections()
    share_freed_memory()
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        return run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> int:
    registry = process_registry()
    models = LoadedModels()
    with open_monitor(settings, registry, production=models.production) as monitor:
        service = Service(settings, registry, monitor, models)
        try:
            all_answered = await service.run(listener)
        finally:
            service.close()
    logger.info("server stopped")
    # Python would wait for an operator that nothing can end, and abort in a thread that it ends.
    if RUNS.is_busy or service.still_infers or not all_answered:
        end_process(0)
    return 0


class Service:
    """The HTTP server, the loaded models and the store watcher of a process."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        monitor: Monitor,
        models: LoadedModels,
    ) -> None:
        """Build everything on the running event loop, without loading a model or listening."""
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._metrics = ServingMetrics(registry)
        MEMORY.limit(settings.inference_memory_bytes)
        self.access = read_access(settings, ENDPOINTS, ended=monitor.ended)
        self.recorder: Recorder | None = monitor.recorder
        self._bodies = monitor.bodies
        self._pictures = monitor.pictures
        self._store = settings.opened_store
        self.models = models
        self._background: list[asyncio.Task[None]] = []
        self.still_infers = False
        self.watcher = StoreWatcher(
            self._store,
            self.models,
            self._load,
            loop=self._loop,
            metrics=self._metrics,
            alarmed=monitor.alarmed,
        )
        self.pipeline = InferencePipeline(
            settings=settings, metrics=self._metrics, shadow_of=models.shadow_of
        )
        mounted = monitor.endpoints or bind([METRICS], MetricsRoute(registry))
        console = TrialRoutes(
            settings=settings,
            models=models,
            pipeline=self.pipeline,
            bodies=monitor.bodies,
            ledger=monitor.ledger,
            store=self._store,
        )
        pages = server_pages(
            access=self.access,
            bodies=monitor.bodies,
            store=self._store,
            ledger=monitor.ledger,
            tries=lambda model: model in models.by_name(),
            troubles=lambda model: self.watcher.troubles(model),
        )
        self.prediction_app = self._build_prediction_app(
            [*pages, *bind(TRIAL_ENDPOINTS, console), *mounted]
        )
        self.app = with_middlewares(
            self.prediction_app,
            settings,
            endpoints=ENDPOINTS,
            access=self.access,
            refuse=self.prediction_app.refuse,
        )

    async def run(self, listener: socket.socket) -> bool:
        """Serve until a signal arrives. Returns whether every request was answered."""
        server = DrainingServer(self.app, self._settings, listener=listener, drain=self._drain)
        server.catch_signals()
        host, port = listener.getsockname()[:2]
        announce(f"Candor serves on {address(host, port, self._settings)}")
        announce_missing_store(self._settings, consequence=NOTHING_ANSWERED)
        self.start()
        return await server.serve()

    def start(self) -> None:
        self.watcher.start(self._settings.scan_s)
        # What is loaded by now lives as long as the process, so the garbage collector need not
        # visit it again.
        gc.freeze()
        self._background = [
            self._loop.create_task(self._warm_up()),
            self._loop.create_task(keep_returning_memory()),
            self._loop.create_task(keep_tokens(self.access, self._settings)),
            self._loop.create_task(keep_sessions(self.access)),
        ]

    async def _warm_up(self) -> None:
        await asyncio.sleep(WARM_UP_S)
        await self.pipeline.warm_up()

    def close(self) -> None:
        """Stop the threads. By now every batch is answered."""
        for each in self._background:
            each.cancel()
        self.watcher.stop()
        self.pipeline.close()
        loaded = [
            served for model in self.models.by_name().values() for served in model.all_versions
        ]
        for served in loaded:
            served.retire()
        ended = [served.join(JOIN_S) for served in loaded]
        self.still_infers = not all(ended)
        flush_lines()

    def unready(self) -> str:
        """Why requests should go to another server; empty if this one is ready."""
        if self.prediction_app.draining:
            return "the server is shutting down."
        if self.withholds:
            return "the ledger cannot be written, so predictions are withheld."
        if not self.watcher.has_scanned:
            return "the models of the store are still being loaded."
        return "" if self.models.by_name() else "no model is loaded."

    @property
    def withholds(self) -> bool:
        """Whether answers are withheld, because the ledger is away and nothing replaces it."""
        return bool(
            self.recorder and not self._settings.spool_limit_bytes and self.recorder.ledger_is_away
        )

    def _drain(self) -> None:
        self.prediction_app.draining = True
        logger.info("draining")

    def _load(self, model: str, version: int, *, background: bool = False) -> ServedVersion:
        """A version ready to answer. Runs in the store watcher's thread."""
        bundle = self._store.read(model, version)
        if (bundle.card.name, bundle.card.version) != (model, version):
            raise ModelUnusable(
                f"the card in {model}/{version} names {bundle.card.name} version "
                f"{bundle.card.version}; publish the bundle again."
            )
        predictor = self._open(bundle, threads=1 if background else self._settings.threads)
        return ServedVersion(
            predictor,
            recorder=self.recorder,
            metrics=self._metrics,
            loop=self._loop,
            max_batch=self._settings.max_batch,
            deadline_s=self._settings.deadline_s,
            background=background,
            audit=AuditSampler(self._settings.audit_share),
            scope=ScopePolicy(self._settings.scope_alpha, self._settings.scope_out),
            pictures=self._pictures,
        )

    def _open(self, bundle: Bundle, *, threads: int) -> Predictor:
        """A predictor whose answers to the probe images are compared, as the metric says."""
        metric = self._metrics.difference.labels(bundle.card.name, bundle.card.version)
        try:
            predictor = open_predictor(
                bundle,
                threads=threads,
                device=self._settings.device,
                on_difference=self._settings.on_difference,
            )
        except ProbesDiffer as error:
            metric.set(error.difference)
            raise
        metric.set(math.nan if predictor.difference is None else predictor.difference)
        return predictor

    def _build_prediction_app(self, mounted: Sequence[Endpoint]) -> PredictionApp:
        routes = ServerRoutes(
            loaded=self.models,
            refused=lambda: dict(self.watcher.refused),
            doubts=lambda: self.watcher.doubts,
            unready=self.unready,
        )
        v2 = ProtocolRoutes(
            models=self.models,
            pipeline=self.pipeline,
            settings=self._settings,
            metrics=self._metrics,
            ready=lambda: not self.unready(),
            bodies=self._bodies,
        )
        rest = build_router(routes, [*mounted, *bind(V2_ENDPOINTS, v2)])
        return PredictionApp(
            settings=self._settings,
            models=self.models,
            pipeline=self.pipeline,
            rest=rest,
            error_page=send_error,
            metrics=self._metrics,
            bodies=self._bodies,
        )
