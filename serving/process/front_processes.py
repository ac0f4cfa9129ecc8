"""Starts the fronts, starts those again that end or hang, and drains them together.

The main process keeps their listening sockets open too. So connections to a front that has ended
wait for the next one instead of being refused.
"""

import asyncio
import logging
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from anyio import to_thread

from serving.child import start_child
from serving.fronts.messages import FrontDrain, FrontSetup, KnownToken
from serving.fronts.session import FrontedServer, FrontSession
from serving.http.auth import AccessControl
from serving.process.listener import DrainSignals
from serving.settings import Settings

logger = logging.getLogger(__name__)

RESTART_S: Final = 1.0  # between two starts of a front that does not stay
KILL_S: Final = 2.0  # after CANDOR_DRAIN_S, for a front that does not end
BEAT_S: Final = 1.0
# Heartbeats that a front may leave unanswered, and one that starts. Beats are counted, not seconds:
# if the main process stood still too, as in a container that was paused, that is one of them.
SILENT_BEATS: Final = 5
SILENT_BEATS_AT_START: Final = 60
# What a front needs to know. Secrets stay here: it gets the digests of tokens, and no environment.
SETTINGS: Final = frozenset(
    {
        "fronts",
        "host",
        "hosts",
        "traces",
        "tls_certificate",
        "tls_key",
        "deadline_s",
        "max_body_bytes",
        "body_memory_bytes",
        "max_pixels",
        "body_timeout_s",
        "drain_delay_s",
        "drain_s",
        "log_level",
    }
)
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class FrontProcesses:
    """The fronts of a server, in place of uvicorn in its own process. `ending` is set once they
    accept nothing.
    """

    def __init__(
        self,
        settings: Settings,
        server: FrontedServer,
        *,
        access: AccessControl,
        drain: Callable[[], None],
    ) -> None:
        self._settings, self._server, self._drain = settings, server, drain
        self._access = access
        access.listen(self._renew_tokens)
        self._signals = DrainSignals(settings.drain_delay_s, drain=self._begin_drain, end=self._end)
        self._fronts: set[_Front] = set()
        self._listeners: list[socket.socket] = []
        self._draining = asyncio.Event()
        self.ending = asyncio.Event()

    def catch_signals(self) -> None:
        """Drain on SIGTERM and Ctrl-C from now on. Call it before the address is printed."""
        self._signals.catch()

    async def serve(self, *, sockets: list[socket.socket]) -> None:
        """Keep a front for each of the sockets until all have drained."""
        self._listeners = sockets
        await asyncio.gather(*map(self._keep, sockets))

    async def _keep(self, listener: socket.socket) -> None:
        while not self._draining.is_set():
            started_s = time.monotonic()
            await self._run(listener)
            if self._draining.is_set():
                return
            self._server.metrics.front_restarts.inc()
            with suppress(TimeoutError):
                pause_s = RESTART_S if time.monotonic() - started_s < RESTART_S else 0.0
                await asyncio.wait_for(self._draining.wait(), pause_s)

    async def _run(self, listener: socket.socket) -> None:
        """Run one front to its end."""
        try:
            front = await _Front.start(listener, self._server)
        except OSError as error:
            logger.error("a front cannot be started", extra={"fields": {"reason": error.strerror}})
            return
        self._fronts.add(front)
        self._server.metrics.fronts.set(len(self._fronts))
        front.session.connection.send(self._setup())
        if self._draining.is_set():
            front.session.connection.send(FrontDrain())
        watching = asyncio.ensure_future(front.end_if_it_hangs())
        code = await front.ended()
        watching.cancel()
        self._fronts.discard(front)
        self._server.metrics.fronts.set(len(self._fronts))
        if not self._draining.is_set():
            logger.error(
                "a front ended, and another is started",
                extra={"fields": {"pid": front.pid, "code": code}},
            )

    def _setup(self) -> FrontSetup:
        tokens = [
            KnownToken(grant.digest, sorted(grant.scopes), grant.name)
            for grant in self._access.grants
        ]
        return FrontSetup(self._settings.model_dump_json(include=set(SETTINGS)).encode(), tokens)

    def _renew_tokens(self) -> None:
        for front in self._fronts:
            front.session.connection.send(self._setup())

    def _begin_drain(self) -> None:
        self._drain()
        self._draining.set()
        for front in self._fronts:
            front.session.connection.send(FrontDrain())

    def _end(self) -> None:
        """Close the sockets together with the fronts, which answer what they have accepted."""
        for listener in self._listeners:
            listener.close()
        self.ending.set()
        asyncio.get_running_loop().call_later(self._settings.drain_s + KILL_S, self._kill)

    def _kill(self) -> None:
        for front in self._fronts:
            front.kill()


class _Front:
    """A running front."""

    def __init__(self, process: "subprocess.Popen[bytes]", server: FrontedServer) -> None:
        self._process = process
        self._lost = asyncio.Event()
        self.session = FrontSession(server, lost=self._lost.set)

    @classmethod
    async def start(cls, listener: socket.socket, server: FrontedServer) -> Self:
        """Start one. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # On the main thread, because Linux ends it with the thread that started it.
                process = start_child(
                    "serving.process.front",
                    theirs,
                    files=(listener.fileno(),),
                    environment=_ENVIRONMENT,
                    stderr=None,
                )
            except OSError:
                ours.close()
                raise
        front = cls(process, server)
        await asyncio.get_running_loop().create_unix_connection(
            lambda: front.session.connection, sock=ours
        )
        return front

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def end_if_it_hangs(self) -> None:
        """Send heartbeats, and end the front when it has answered none for too long."""
        while self.session.silent_beats < (
            SILENT_BEATS if self.session.is_heard else SILENT_BEATS_AT_START
        ):
            self.session.beat()
            await asyncio.sleep(BEAT_S)
        logger.error("a front hangs, and is ended", extra={"fields": {"pid": self.pid}})
        self.kill()

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        await self._lost.wait()
        self.kill()
        return await to_thread.run_sync(self._process.wait)

    def kill(self) -> None:
        """End it at once. Does nothing if it has ended."""
        self._process.kill()
