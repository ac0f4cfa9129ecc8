"""uvicorn's HTTP protocol, with bounds on what a client may hold: the size and the time of a head, and connections.

uvicorn bounds neither: a client that sends its head a byte a minute, or without end, would keep its connection and its
memory for good. Bodies are bounded in request.py, where the limit is a setting.

An `Exchange` in the scope is the hot route's way past ASGI's messages, which would cost a tiny model's answer a tenth.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.error_table import error_answer
from serving.errors import ClientGone, HeadTimeout, HeadTooLarge, MalformedHttp, ServingError
from serving.http.caller import GONE

MAX_HEAD_BYTES: Final = 64 * 1024
HEAD_TIMEOUT_S: Final = 10.0
MAX_CONNECTIONS: Final = 16_384
_EXCHANGE: Final = "candor.exchange"
_Answer = TypeVar("_Answer")


class Exchange:
    """One request, its answer, and its Caller. What it does not take, `receive` and `send` do as ever."""

    __slots__ = ("_cycle", "_waiting")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._waiting: asyncio.Task[Any] | None = None

    async def wait(self, answer: Awaitable[_Answer]) -> _Answer:
        """As Caller says; without a task that listens, since the protocol itself hears of it."""
        if self._cycle.disconnected:
            raise ClientGone(GONE)
        self._waiting = task = asyncio.current_task()
        try:
            return await answer
        except asyncio.CancelledError:
            if task is None or not self._cycle.disconnected:
                raise
            task.uncancel()
            raise ClientGone(GONE) from None
        finally:
            self._waiting = None

    def lose(self) -> None:
        """The client has gone."""
        if self._waiting is not None:
            self._waiting.cancel()

    def body(self) -> bytes | None:
        """The whole body, once, if all of it has come; else None."""
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected or cycle.response_complete:
            return None
        cycle.flow.resume_reading()
        cycle.message_event.clear()
        body, cycle.body = cycle.body, bytearray()
        return bytes(body)

    def answer(self, body: bytes, *, media_type: bytes, close: bool) -> bool:
        """Answer 200 in a single write; False where that cannot be done now, since the client reads too slowly."""
        cycle = self._cycle
        if cycle.response_started or cycle.flow.write_paused:
            return False
        if cycle.disconnected:
            return True
        cycle.response_started = cycle.response_complete = True
        cycle.keep_alive = cycle.keep_alive and not close
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n" % (media_type, len(body))
        for header in cycle.default_headers:
            head += b"%b: %b\r\n" % header
        cycle.transport.write(b"%b%b\r\n%b" % (head, b"" if cycle.keep_alive else b"connection: close\r\n", body))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True


def take_exchange(scope: Scope) -> Exchange | None:
    """The exchange of a request that came through BoundedProtocol; the scope no longer has it.

    Else there would be a circle, scope to exchange to cycle to scope, and each request would be work for the collector.
    """
    exchange: Exchange | None = scope.get("extensions", {}).pop(_EXCHANGE, None)
    return exchange


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head that is too long gets 431, one that takes too long 408, and both the end."""

    head_timeout_s = HEAD_TIMEOUT_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many; its first head is expected from now on."""
        super().connection_made(transport)
        self._heads = 0
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._exchange: Exchange | None = None
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and what was asked through it."""
        self._head_done()
        super().connection_lost(exc)
        if self._exchange is not None:
            self._exchange.lose()

    def data_received(self, data: bytes) -> None:
        """Bound a head that does not come at once; bytes of bodies are counted where they are read."""
        due = self.cycle is None or self.cycle.response_complete
        heads = self._heads
        super().data_received(data)
        if due and self._heads == heads:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._expect_head()
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge("the head is over 64 KiB."))

    def on_headers_complete(self) -> None:
        """The head is whole: hand the request over."""
        self._heads += 1
        self._head_bytes = 0
        self._head_done()
        super().on_headers_complete()
        self._exchange = Exchange(self.cycle)
        self.scope["extensions"] = {_EXCHANGE: self._exchange}  # type: ignore[dict-item]  # ours alone reads it

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._head_late)

    def _head_done(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._head_bytes == 0 and self.cycle is None:  # it never asked for anything: nothing is to be said
            self.transport.close()
            return
        self._refuse(HeadTimeout(f"the head did not arrive within {self.head_timeout_s:g} s."))

    def _refuse(self, error: ServingError) -> None:
        self._head_done()
        if self.transport.is_closing():
            return
        answer = error_answer(error)
        body, phrase = answer.body(), answer.phrase.encode()
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (answer.status, phrase, len(body)) + body)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told in JSON, as everything else is."""
        self._refuse(MalformedHttp("this is not a valid HTTP/1.1 request."))
