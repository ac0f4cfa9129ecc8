"""A bound socket, and uvicorn with signal handling that drains and with limits on connections."""

import asyncio
import contextlib
import errno
import logging
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from serving.errors import ListenError
from serving.http.protocol import BoundedProtocol
from serving.process.tls import tls_files
from serving.settings import Settings, ignored_variables

logger = logging.getLogger(__name__)

FORCED = 1
BACKLOG = 2048


def allow_many_connections() -> None:
    """Raise the soft limit of open files, often 1024, to the hard limit: every connection is a
    file.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def log_ignored_variables() -> None:
    """Log which variables of the environment are not read, if there are any."""
    if ignored := ignored_variables():
        logger.info(
            "ignored variables that Kubernetes injected for a Service",
            extra={"fields": {"names": ignored}},
        )


def listen(host: str, port: int, *, setting: str = "--port or CANDOR_PORT") -> socket.socket:
    """A bound, listening socket. Raises ListenError. `setting` is what chooses the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[
            0
        ]  # Python adds the address, which stands here already
        raise ListenError(
            f"cannot listen on {host}:{port}: {reason}. {_advice(error, setting)}"
        ) from error


def _advice(error: OSError, setting: str) -> str:
    """What to do about an address that cannot be listened on: the host may be wrong, or the
    port.
    """
    number = error.errno or 0
    if (
        number < 0 or number == errno.EADDRNOTAVAIL
    ):  # below 0 are those of names that are no address
        return "Choose an address of this machine with --host or CANDOR_HOST."
    asked = "Is another server running there? " if number == errno.EADDRINUSE else ""
    return f"{asked}Choose another port with {setting}."


def address(listener: socket.socket, settings: Settings) -> str:
    """The URL that the process prints."""
    host, port = listener.getsockname()[:2]
    scheme = "http" if settings.tls_certificate is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class DrainSignals:
    """SIGTERM and Ctrl-C: the first calls `drain`, and `end` after `delay_s`; the second ends the
    process.
    """

    def __init__(
        self, delay_s: float, *, drain: Callable[[], None], end: Callable[[], None]
    ) -> None:
        self._delay_s, self._drain, self._end = delay_s, drain, end
        self._begun = False

    def catch(self) -> None:
        """Act on signals from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    def begin(self) -> None:
        """Do what the first signal does."""
        self._begun = True
        self._drain()
        asyncio.get_running_loop().call_later(self._delay_s, self._end)

    def _on_signal(self) -> None:
        if self._begun:
            logger.warning("second signal: exiting at once")
            sys.stderr.flush()
            os._exit(FORCED)
        self.begin()


class DrainingServer(uvicorn.Server):
    """uvicorn with other signal handling: the first signal drains and exits 0, the second ends the
    process.

    `ending` is set once it accepts no more connections.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        *,
        drain: Callable[[], None],
    ) -> None:
        super().__init__(_config(app, settings))
        self._signals = DrainSignals(settings.drain_delay_s, drain=drain, end=self._end)
        self.ending = asyncio.Event()

    def catch_signals(self) -> None:
        """Drain on SIGTERM and Ctrl-C from now on. Call it before the address is printed."""
        self._signals.catch()

    def begin_drain(self) -> None:
        """Drain now."""
        self._signals.begin()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Replace uvicorn's handling, which raises the signal again at the end and so never exits
        with 0.
        """
        yield

    def _end(self) -> None:
        self.should_exit = True
        self.ending.set()


def _config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    certificate, key = tls_files(settings) or (None, None)
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(settings.drain_s),
    )
