"""`candor monitor`: the monitoring room by itself, for servers that only record, and for models served elsewhere.

Any number of these processes on one ledger take labels and show reports at once. One of them leads, which means that it
prunes; whether it is this one is told by /readyz and by the metric candor_monitor_leader.
"""

import contextlib
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version as installed_version

import uvloop
from anyio import to_thread
from prometheus_client import CollectorRegistry, ProcessCollector
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from monitoring.ledger import calibrations
from monitoring.ledger.database import Ledger
from serving.errors import NotReady, SettingsError
from serving.http.auth import read_access
from serving.http.error_handlers import ERROR_HANDLERS, send_error
from serving.http.middleware import with_middlewares
from serving.openapi.document import document
from serving.openapi.page import page
from serving.process.listener import DrainingServer, address, allow_many_connections, listen
from serving.process.logs import configure_logging
from serving.process.monitor import Monitor, open_monitor
from serving.settings import Settings

logger = logging.getLogger(__name__)


def serve_monitor(settings: Settings) -> int:
    """Serve until a signal; returns the exit code. Raises ListenError, LedgerError, SettingsError (no ledger)."""
    if settings.ledger_url is None:
        raise SettingsError("candor monitor is nothing without a ledger: give --ledger, or unset CANDOR_LEDGER=off.")
    configure_logging(settings.log_level)
    allow_many_connections()
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        return uvloop.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> int:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    with open_monitor(settings, registry) as monitor:
        state = _State()
        app = guarded(build(monitor, draining=lambda: state.draining), settings)
        server = DrainingServer(app, settings, drain=state.drain)
        server.catch_signals()
        sys.stdout.write(f"Candor monitors on {address(listener, settings)}\n")
        sys.stdout.flush()
        await server.serve(sockets=[listener])
    logger.info("monitor stopped")
    return 0


class _State:
    draining = False

    def drain(self) -> None:
        self.draining = True
        logger.info("draining")


def build(monitor: Monitor, *, draining: Callable[[], bool] = lambda: False) -> Starlette:
    """The application: monitoring's routes, health, and its own description."""
    ledger = monitor.ledger
    if ledger is None:
        raise SettingsError("candor monitor needs a ledger.")

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        if draining():
            raise NotReady("the monitor is shutting down.")
        try:
            models = await to_thread.run_sync(_models, ledger)
        except SQLAlchemyError:
            raise NotReady("the ledger cannot be read.") from None
        return JSONResponse({"status": "ready", "leader": monitor.leads(), "models": models})

    own: list[BaseRoute] = [Route("/healthz", healthz), Route("/readyz", readyz)]
    own += _description([*own, *monitor.routes])
    return Starlette(routes=[*own, *monitor.routes], exception_handlers=ERROR_HANDLERS)


def guarded(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application as it is served: behind the access control and the middlewares of the settings."""
    return with_middlewares(app, settings, access=read_access(settings), refuse=send_error)


def _description(mounted: Sequence[BaseRoute]) -> list[BaseRoute]:
    """/openapi.json and /docs of these routes and themselves."""
    paths = {route.path for route in mounted if isinstance(route, Route)} | {"/openapi.json", "/docs"}
    described = document(installed_version("candor"), only=paths)

    async def openapi(_: Request) -> Response:
        return JSONResponse(described)

    async def docs(_: Request) -> Response:
        return HTMLResponse(page(described))

    return [Route("/openapi.json", openapi), Route("/docs", docs)]


def _models(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return calibrations.models(connection)
