"""The serving process: wires the rooms together, listens, follows the store, and ends well.

SIGTERM (or Ctrl-C): readiness falls at once, the port is listened on for a moment longer so that nothing on
its way is lost, everything admitted is answered, the ledger is closed, exit 0. A second signal ends the
process on the spot, which the ledger survives as it survives kill -9.
"""

import asyncio
import contextlib
import gc
import logging
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import uvicorn
import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.routing import BaseRoute

from model_store.store import Store
from monitoring.recorder import Recorder
from serving.audit import AuditDraw
from serving.errors import ListenError, ModelUnusable
from serving.fleet import Fleet
from serving.front.app import Front
from serving.front.gate import read_gate
from serving.front.inference import Inference
from serving.front.protocol import BoundedProtocol
from serving.front.routes import metrics_alone, rare_routes
from serving.front.shell import wrapped
from serving.logs import configure_logging
from serving.metrics import ServingMetrics
from serving.monitor import Monitor, open_monitor
from serving.predictor import Predictor
from serving.settings import Settings
from serving.switch import Switch
from serving.v2.rest import v2_routes
from serving.v2.service import InferenceService
from serving.version import ServedVersion

if TYPE_CHECKING:
    import grpc

logger = logging.getLogger(__name__)

FORCED = 1
JOIN_S = 5.0


def serve(settings: Settings) -> int:
    """Serve until a signal; returns the exit code. Raises ListenError if the address is taken."""
    configure_logging(settings.log_level)
    _allow_many_connections()
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        return uvloop.run(_serve(settings, listener))


def _allow_many_connections() -> None:
    """Every connection is a file; the soft limit is often 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; raises ListenError with a sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Is another server running there? "
            "Choose another port with --port or CANDOR_PORT."
        ) from error


async def _serve(settings: Settings, listener: socket.socket) -> int:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    fleet = Fleet()
    with open_monitor(settings, registry, production=fleet.production) as monitor:
        service = Service(settings, registry, monitor, fleet)
        try:
            await service.run(listener)
        finally:
            service.close()
    logger.info("server stopped")
    return 0


class Service:
    """The HTTP server, the fleet and the switch of one process."""

    def __init__(self, settings: Settings, registry: CollectorRegistry, monitor: Monitor, fleet: Fleet) -> None:
        """Build everything on the running event loop; nothing is loaded or listened on yet."""
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._metrics = ServingMetrics(registry, exemplars=settings.exemplars)
        self._gate = read_gate(_secret(settings), settings.tokens_file)
        self.recorder: Recorder | None = monitor.recorder
        self._store = Store(settings.store)
        self.fleet = fleet
        self.switch = Switch(self._store, self.fleet, self._load, loop=self._loop, alarmed=monitor.alarmed)
        self.inference = Inference(settings=settings, metrics=self._metrics, shadow_of=fleet.shadow_of)
        self.v2 = InferenceService(fleet=fleet, inference=self.inference, settings=settings)
        self.front = self._build_front(monitor.routes or metrics_alone(registry))

    async def run(self, listener: socket.socket) -> None:
        """Listen until a signal has come and everything admitted is answered."""
        server = DrainingServer(_uvicorn_config(self.front, self._settings), self._drain, self._settings.drain_delay_s)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        server.catch_signals()
        scheme = "http" if self._settings.tls_certificate is None else "https"
        sys.stdout.write(f"Candor serves on {scheme}://{shown}:{port}\n")
        sys.stdout.flush()
        self.switch.start(self._settings.poll_s)
        rpc = await self._start_grpc()
        # What is loaded by now lives as long as the process; the collector need not walk through it every time.
        gc.freeze()
        await server.serve(sockets=[listener])
        if rpc is not None:
            await rpc.stop(self._settings.drain_s)

    def close(self) -> None:
        """End the threads; whatever is in a batch is answered by now."""
        self.switch.stop()
        self.inference.close()
        loaded = [served for slot in self.fleet.slots().values() for served in slot.loaded]
        for served in loaded:
            served.retire()
        for served in loaded:
            served.join(JOIN_S)

    def ready(self) -> bool:
        """Whether a model is loaded and requests are taken."""
        return bool(self.fleet.slots()) and not self.front.draining

    def _drain(self) -> None:
        self.front.draining = True
        logger.info("draining")

    def _load(self, model: str, version: int, *, background: bool = False) -> ServedVersion:
        """A version ready to answer; runs in the switch's thread."""
        bundle = self._store.read(model, version)
        if (bundle.card.name, bundle.card.version) != (model, version):
            raise ModelUnusable(
                f"the bundle in {model}/{version} says that it is {bundle.card.name} version "
                f"{bundle.card.version}; publish it anew."
            )
        predictor = Predictor(
            bundle,
            threads=1 if background else self._settings.threads,
            spinning=self._settings.spinning,
            device=self._settings.device,
        )
        return ServedVersion(
            predictor,
            recorder=self.recorder,
            metrics=self._metrics,
            loop=self._loop,
            max_batch=self._settings.max_batch,
            background=background,
            audit=AuditDraw(self._settings.audit_share),
        )

    async def _start_grpc(self) -> "grpc.aio.Server | None":
        """The gRPC server, where a port is set. Raises ListenError, also where the extra is not installed."""
        if self._settings.grpc_port is None:
            return None
        try:
            from serving.v2.rpc import Servicer, start_grpc
        except ModuleNotFoundError as error:
            raise ListenError(f"gRPC needs the extra: pip install 'candor[grpc]' ({error})") from error
        servicer = Servicer(self.v2, settings=self._settings, metrics=self._metrics, ready=self.ready, gate=self._gate)
        server, port = await start_grpc(servicer, self._settings)
        sys.stdout.write(f"Candor serves gRPC on {self._settings.host}:{port}\n")
        sys.stdout.flush()
        return server

    def _v2_routes(self) -> list[BaseRoute]:
        return v2_routes(self.v2, settings=self._settings, metrics=self._metrics, ready=self.ready)

    def _build_front(self, mounted: list[BaseRoute]) -> Front:
        rest = rare_routes(
            fleet=self.fleet,
            refused=lambda: dict(self.switch.refused),
            draining=lambda: self.front.draining,
            ready=self.ready,
            mounted=[*mounted, *self._v2_routes()],
        )
        return Front(
            settings=self._settings,
            gate=self._gate,
            fleet=self.fleet,
            inference=self.inference,
            rest=rest,
            metrics=self._metrics,
        )


class DrainingServer(uvicorn.Server):
    """uvicorn with our signals: the first drains and exits 0, the second ends the process."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None], delay_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._delay_s = delay_s
        self._signalled = False

    def catch_signals(self) -> None:
        """From now on SIGTERM and Ctrl-C drain; called before the address is told to anybody."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Replaces uvicorn's, which raises the signal again at the end and so never exits 0."""
        yield

    def _on_signal(self) -> None:
        if self._signalled:
            logger.warning("second signal: ending at once")
            sys.stderr.flush()
            os._exit(FORCED)
        self._signalled = True
        self._drain()
        asyncio.get_running_loop().call_later(self._delay_s, self._exit)

    def _exit(self) -> None:
        self.should_exit = True


def _secret(settings: Settings) -> str | None:
    return None if settings.tokens is None else settings.tokens.get_secret_value()


def _uvicorn_config(front: Front, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        wrapped(front, settings),
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=2048,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(settings.drain_s),
    )
