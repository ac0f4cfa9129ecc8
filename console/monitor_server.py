"""The process of `candor monitor`: labels, reports and metrics without a model.

Any number of these processes can take labels and show reports on one ledger. One of them leads and
prunes. /readyz and the metric candor_monitor_leader say whether it is this one.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Final, Literal

from anyio import to_thread
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp

from calibration.wording import parameter
from console.api_page import ENDPOINTS as DESCRIPTION_ENDPOINTS
from console.api_page import with_description
from console.error_pages import application, send_error
from console.monitor import Monitor, open_monitor
from console.routes import ENDPOINTS as PAGE_ENDPOINTS
from console.routes import server_pages
from hosting.auth import AccessControl, read_access
from hosting.errors import NotReady, SettingsError
from hosting.health import HEALTHZ, LifeRoute, health_check
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
from hosting.settings import Settings
from hosting.steps import start
from hosting.token_file import keep_sessions, keep_tokens
from model_store.addresses import shown_address
from model_store.store.store import Store
from monitoring.http.endpoint import bind
from monitoring.ledger import versions
from monitoring.ledger.database import Ledger
from monitoring.routes import ENDPOINTS as MONITORING_ENDPOINTS

logger = logging.getLogger(__name__)


def serve_monitor(settings: Settings) -> int:
    """Serve until a signal arrives. Returns the exit code.

    Raises ListenError, LedgerError or SettingsError.
    """
    if settings.ledger_url is None:
        raise SettingsError(
            f"candor monitor needs a ledger: pass {parameter('ledger')}, or unset "
            "CANDOR_LEDGER=off."
        )
    if settings.recalibrate_on_alarm != "off" and not settings.opened_store.storage.exists():
        raise SettingsError(
            f"candor monitor found no model store at {shown_address(settings.store)}, and a "
            f"recalibration on an alarm needs one: give {parameter('store')} the one that the "
            "servers use, or set CANDOR_RECALIBRATE_ON_ALARM=off."
        )
    start(settings)
    allow_many_connections()
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        return run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> int:
    registry = process_registry()
    with open_monitor(settings, registry) as monitor:
        state = _State()
        access = read_access(settings, DECLARED, ended=monitor.ended)
        routes = build(
            monitor, settings.opened_store, draining=lambda: state.draining, access=access
        )
        app = guarded(routes, settings, access=access)
        server = DrainingServer(app, settings, listener=listener, drain=state.drain)
        server.catch_signals()
        host, port = listener.getsockname()[:2]
        announce(f"Candor monitors on {address(host, port, settings)}")
        if "store" in settings.model_fields_set:  # a monitor alone needs none
            announce_missing_store(
                settings,
                consequence="pages cannot act on versions, or recalibrate, until there is one.",
            )
        tokens = asyncio.gather(keep_tokens(access, settings), keep_sessions(access))
        all_answered = await server.serve()
        tokens.cancel()
    logger.info("monitor stopped")
    if not all_answered:
        end_process(0)
    return 0


class _State:
    draining = False

    def drain(self) -> None:
        self.draining = True
        logger.info("draining")


class MonitorReady(Struct, frozen=True):
    """The monitor works. `leader`: it prunes the ledger; `models`: those in the ledger."""

    leader: bool
    models: list[str]
    status: Literal["ready"] = "ready"


class HealthRoutes:
    def __init__(
        self, ledger: Ledger, *, leads: Callable[[], bool], draining: Callable[[], bool]
    ) -> None:
        self._ledger, self._leads, self._draining = ledger, leads, draining

    async def readyz(self, _: Request) -> MonitorReady:
        if self._draining():
            raise NotReady("the monitor is shutting down.")
        try:
            models = await to_thread.run_sync(_models, self._ledger)
        except SQLAlchemyError:
            raise NotReady("the ledger cannot be read.") from None
        return MonitorReady(self._leads(), models)


ENDPOINTS: Final = (
    HEALTHZ,
    health_check(
        path="/readyz",
        handler=HealthRoutes.readyz,
        summary="Whether the ledger can be read, and whether this monitor leads.",
        refuses=(NotReady,),
    ),
)
DECLARED: Final = (*DESCRIPTION_ENDPOINTS, *ENDPOINTS, *PAGE_ENDPOINTS, *MONITORING_ENDPOINTS)


def build(
    monitor: Monitor,
    store: Store,
    *,
    access: AccessControl | None = None,
    draining: Callable[[], bool] = lambda: False,
) -> Starlette:
    """The application: monitoring, health, pages, and the API's description."""
    if monitor.ledger is None:
        raise SettingsError("candor monitor needs a ledger.")
    health = HealthRoutes(monitor.ledger, leads=monitor.leads, draining=draining)
    pages = server_pages(
        access=access or AccessControl(), bodies=monitor.bodies, store=store, ledger=monitor.ledger
    )
    own = bind(ENDPOINTS, health, LifeRoute())
    return application(with_description([*own, *pages, *monitor.endpoints]))


def guarded(app: ASGIApp, settings: Settings, *, access: AccessControl | None = None) -> ASGIApp:
    """The application behind access control and the other middlewares."""
    access = access or read_access(settings, DECLARED)
    return with_middlewares(app, settings, endpoints=DECLARED, access=access, refuse=send_error)


def _models(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return versions.models(connection)
