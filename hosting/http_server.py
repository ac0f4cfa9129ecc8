"""The HTTP server of a process: Granian, which speaks HTTP/1.1 and TLS in threads of its own and
calls the application on the event loop of this thread.

Granian bounds heads and connections; `hosting.exchange` does what it leaves to applications.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, NoReturn

import uvloop
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp

from hosting.listener import BACKLOG, tls_files
from hosting.settings import Settings

logger = logging.getLogger(__name__)

FORCED: Final = 1
# from a connection's start, or its last answer, to the end of the next head: longer than proxies
# keep a connection that idles, which would else send a request as it is closed
HEAD_TIMEOUT_MS: Final = 75_000
BUFFER_BYTES: Final = 64 * 1024  # of a head, and of a piece of a body
MAX_CONNECTIONS: Final = 16_384
# Handshakes take milliseconds each, and a connection waits for those that came before it.
TLS_BACKLOG: Final = 128
OTHER_FILES: Final = 256  # that this process opens beside connections
TURN_S: Final = 0.001


class DrainingServer:
    """A server whose first SIGTERM or Ctrl-C drains; the second exits at once."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        *,
        listener: socket.socket,
        drain: Callable[[], None],
    ) -> None:
        self._drain, self._draining = drain, False
        self._delay_s, self._drain_s = settings.drain_delay_s, settings.drain_s
        self._server = _Granian(app, listener, tls_files(settings))
        self._stopped = asyncio.Event()

    def catch_signals(self) -> None:
        """Drain on SIGTERM and Ctrl-C from now on. Call it before the address is printed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.begin_drain)

    def begin_drain(self) -> None:
        """Drain now; end the process at once if it drains already."""
        if self._draining:
            logger.warning("second signal: exiting at once")
            end_process(FORCED)
        self._draining = True
        self._drain()
        asyncio.get_running_loop().call_later(self._delay_s, self.stop)

    def stop(self) -> None:
        """Accept nothing more; `serve` returns once what is under way is answered."""
        self._stopped.set()
        self._server.stop()

    async def serve(self) -> bool:
        """Serve until it is stopped, and then for at most `drain_s`.

        Returns whether every request was answered. If not, Granian's threads still run: end the
        process by `end_process`.
        """
        serving = asyncio.create_task(self._server.serve())
        serving.add_done_callback(lambda _: self._stopped.set())
        await self._stopped.wait()
        done, _ = await asyncio.wait([serving], timeout=self._drain_s)
        if not done:
            logger.warning("gave up requests that were not answered in time")
            return False
        await serving
        return True


class _Granian(Server):
    """Granian's embedded server on a socket that is bound already."""

    def __init__(
        self, app: ASGIApp, listener: socket.socket, tls: tuple[Path, Path] | None
    ) -> None:
        certificate, key = tls or (None, None)
        super().__init__(
            app,
            interface=Interfaces.ASGINL,  # ASGI without lifespan
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(
                header_read_timeout=HEAD_TIMEOUT_MS, max_buffer_size=BUFFER_BYTES
            ),
            backpressure=_most_connections(),
            websockets=False,
            log_enabled=False,
            ssl_cert=certificate,
            ssl_key=key,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        self._listener = listener
        self._queue = BACKLOG if tls is None else TLS_BACKLOG

    def _init_shared_socket(self) -> None:
        self._listener.listen(self._queue)
        self._ssp, self._shd = None, SocketHolder(self._listener.detach(), False, self._queue)


def _most_connections() -> int:
    """As many as files may be open, less those that the process needs for itself."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MAX_CONNECTIONS, max(files - OTHER_FILES, files // 2))


def end_process(code: int) -> NoReturn:
    """End the process without waiting for its threads, which Python could not end safely."""
    sys.stderr.flush()
    os._exit(code)


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a process on uvloop.

    A thread that parses gives the interpreter back after TURN_S. An answer asks for the interpreter
    a dozen times, so with Python's 5 ms it waits up to 0.1 s for two such threads.
    """
    sys.setswitchinterval(TURN_S)
    return uvloop.run(main)
