"""The listener of one replica for Prometheus: its own metrics, past Ray's proxies.

Tokens, TLS and limits on connections are those of a server. It answers GET /metrics and nothing
else.
"""

import asyncio
import socket
from typing import Any, Final

from prometheus_client import CollectorRegistry

from console.error_pages import application, send_error
from hosting.auth import AccessControl
from hosting.errors import ListenError
from hosting.http_server import DrainingServer
from hosting.listener import listen
from hosting.middleware import with_middlewares
from hosting.settings import Settings
from monitoring.http.endpoint import bind
from monitoring.routes import METRICS
from monitoring.routes.exposition import MetricsRoute
from serving.cluster.metric_targets import keep_reporting

# Tried, from CANDOR_RAY_METRICS_PORT on: each replica of a node takes another one.
PORTS: Final = 100


class MetricsListener:
    """Listens and reports its address until it is stopped. Build it on its event loop."""

    def __init__(
        self, registry: CollectorRegistry, access: AccessControl, settings: Settings
    ) -> None:
        """Bind a port at this node's address. Raises ListenError if none is free."""
        self._socket = listen_from(settings.ray_metrics_port, node_address())
        app = with_middlewares(
            application(bind([METRICS], MetricsRoute(registry))),
            settings,
            endpoints=[METRICS],
            access=access,
            refuse=send_error,
        )
        self._server = DrainingServer(app, settings, listener=self._socket, drain=lambda: None)
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        host, port = self._socket.getsockname()[:2]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._tasks = [
            asyncio.create_task(self._server.serve()),
            asyncio.create_task(keep_reporting(place)),
        ]

    async def stop(self) -> None:
        """Withdraw the address, answer what is under way, and close."""
        if not self._tasks:
            self._socket.close()
            return
        serving, reporting = self._tasks
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
        self._server.stop()
        await serving


def listen_from(port: int, host: str) -> socket.socket:
    """Listen at the first free one of PORTS ports; at any if `port` is 0. Raises ListenError."""
    for candidate in range(port, port + PORTS if port else 1):
        try:
            return listen(host, candidate)
        except ListenError:
            continue
    raise ListenError(
        f"no port from {port} to {port + PORTS - 1} is free at {host} for a replica's metrics; set "
        "another CANDOR_RAY_METRICS_PORT, or 0 for any free port."
    )


def node_address() -> str:
    import ray

    return str(ray.util.get_node_ip_address())
