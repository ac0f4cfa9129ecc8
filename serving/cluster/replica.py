"""One replica: the application of `candor serve`, run by Ray Serve in a process of its own.

Ray calls it with requests, and its lifespan when the replica begins and ends. Settings travel from
the command to the replica. Ray keeps them in plain text, so secrets do not: each node has them in
its environment or files.
"""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import make_url
from starlette.types import Receive, Scope, Send

from calibration.wording import typed
from console.monitor import open_monitor
from hosting.errors import MetricsElsewhere, SettingsError
from hosting.listener import allow_many_connections, process_registry
from hosting.logs import configure_logging
from hosting.settings import Settings
from serving.deployment.loaded_models import LoadedModels
from serving.process.server import Service

# Read on each node.
LOCAL: Final = frozenset({"tokens", "tokens_file", "ledger", "ledger_file", "patient_key_file"})


class ReplicaApp:
    """The ASGI application of one replica. Build it on the event loop that calls it."""

    def __init__(self, settings: Settings) -> None:
        """Open the ledger and build the service, without loading a model."""
        configure_logging()
        allow_many_connections()
        registry, models = process_registry(), LoadedModels()
        self._opened = ExitStack()
        self._opened.enter_context(typed())  # its pages name commands
        monitor = self._opened.enter_context(
            open_monitor(settings, registry, production=models.production)
        )
        self._service = Service(settings, registry, monitor, models)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["path"].rstrip("/") == "/metrics":
            await self._service.prediction_app.refuse(scope, receive, send, MetricsElsewhere())
        else:
            await self._service.app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Load the models before Ray sends requests, and close everything after the last one."""
        await receive()
        await asyncio.to_thread(self._service.watcher.try_scan)
        self._service.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._service.close()
        self._opened.close()
        await send({"type": "lifespan.shutdown.complete"})


def shared_settings(settings: Settings) -> dict[str, Any]:
    """What travels: the settings without secrets, their paths absolute."""
    values = settings.model_dump(exclude=set(LOCAL))
    paths: dict[str, Any] = {
        name: value.absolute() for name, value in values.items() if isinstance(value, Path)
    }
    if "://" not in settings.store:
        paths["store"] = str(Path(settings.store).absolute())
    return values | paths | {"threads": settings.threads or 1}  # as Ray reserves


def local_settings(settings: Settings) -> str:
    """What every node must have by itself, in words without secrets."""
    tokens = "no tokens" if settings.tokens is None and settings.tokens_file is None else "tokens"
    if settings.ledger_url is None:
        return f"no ledger and {tokens}"
    # passwords stand there and in the query
    address = make_url(settings.ledger_url).set(query={})._replace(password=None)
    return f"the ledger {address.render_as_string()} and {tokens}"


def settings_here(shared: dict[str, Any], local: str) -> Settings:
    """The settings on this node. Raises SettingsError unless it has what the server has."""
    settings = Settings(**shared)
    if local_settings(settings) != local:
        raise SettingsError(
            f"this node has {local_settings(settings)}, and the server {local}; set CANDOR_LEDGER "
            "and CANDOR_TOKENS, or their files, alike on every node before `ray start`."
        )
    return settings
