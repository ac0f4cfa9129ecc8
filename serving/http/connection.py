"""uvicorn's HTTP protocol with limits: on the size of a request head, on its time, and on the
number of connections.

It ignores `Upgrade`: the request is read as if the header were not there, its body included.
uvicorn's parser ends a request at that header, and would take the body for the next one.

uvicorn has no such limits. A client that sends its head slowly or without end would hold its
connection and its memory forever. Limits on bodies are in request.py, where they are settings.

A `FastPath` in the scope lets the hot route bypass ASGI messages, which would make a small answer a
tenth slower.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

import httptools
import numpy as np
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from monitoring.errors import BodyTimeout
from serving.error_table import error_answer
from serving.errors import ClientGone, HeadTimeout, HeadTooLarge, MalformedHttp, ServingError
from serving.http.caller import GONE

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_DISCARDED_BYTES: Final = (
    256 * 2**20
)  # of a body whose request is answered already, read so that the client can too
_UPGRADE: Final = frozenset({b"upgrade", b"http2-settings"})
HEAD_TIMEOUT_S: Final = 10.0
MAX_CONNECTIONS: Final = 16_384
_FAST_PATH: Final = "candor.fast_path"
_Answer = TypeVar("_Answer")


class FastPath:
    """Reads the body and writes the answer of one request without ASGI messages; also its Caller.

    Whatever it cannot do, `receive` and `send` still do.
    """

    __slots__ = ("_cycle", "_waiting")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._waiting: asyncio.Task[Any] | None = None

    async def wait(self, answer: Awaitable[_Answer]) -> _Answer:
        """See Caller. Needs no listening task, because the protocol itself notices a disconnect."""
        if self._cycle.disconnected:
            if asyncio.iscoroutine(answer):
                answer.close()  # else Python warns that nobody awaited it
            raise ClientGone(GONE)
        self._waiting = task = asyncio.current_task()
        # paused after a large body; a client that hangs up would not be noticed
        self._cycle.flow.resume_reading()
        try:
            return await answer
        except asyncio.CancelledError:
            if task is None or not self._cycle.disconnected:
                raise
            task.uncancel()
            raise ClientGone(GONE) from None
        finally:
            self._waiting = None

    def disconnect(self) -> None:
        """Cancel the waiting task, because the client has disconnected."""
        if self._waiting is not None:
            self._waiting.cancel()

    def body(self) -> bytes | None:
        """The body, if all of it has arrived; else None. Call it once."""
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected or cycle.response_complete:
            return None
        cycle.flow.resume_reading()
        cycle.message_event.clear()
        body, cycle.body = cycle.body, bytearray()
        return bytes(body)

    async def read(self, length_bytes: int, *, timeout_s: float) -> memoryview:
        """The body, of which not all has arrived, straight from the system. Raises BodyTimeout or
        ClientGone.
        """
        transport = self._cycle.transport
        connection = transport.get_protocol()
        if (
            self._cycle.disconnected
            or transport.is_closing()
            or not isinstance(connection, BoundedProtocol)
        ):
            raise ClientGone("the client disconnected before its body was complete.")
        return await connection.read_body(length_bytes, timeout_s=timeout_s)

    def discard(self) -> None:
        """Forget what has arrived of a body that is refused, because the answer may be delayed."""
        self._cycle.body = bytearray()

    def answer(self, body: bytes, *, media_type: bytes, close: bool) -> bool:
        """Answer 200 in a single write. Returns False if that is impossible now because the client
        reads too slowly.
        """
        cycle = self._cycle
        if cycle.response_started or cycle.flow.write_paused:
            return False
        if cycle.disconnected:
            return True
        cycle.response_started = cycle.response_complete = True
        cycle.keep_alive = cycle.keep_alive and not close
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n" % (
            media_type,
            len(body),
        )
        for header in cycle.default_headers:
            head += b"%b: %b\r\n" % header
        cycle.transport.write(
            b"%b%b\r\n%b" % (head, b"" if cycle.keep_alive else b"connection: close\r\n", body)
        )
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True


def take_fast_path(scope: Scope) -> FastPath | None:
    """Remove and return the fast path of a request that came through BoundedProtocol.

    Leaving it in the scope would create a reference cycle per request.
    """
    fast_path: FastPath | None = scope.get("extensions", {}).pop(_FAST_PATH, None)
    return fast_path


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Head too long: 431; head too slow: 408. Both close the connection."""

    head_timeout_s = HEAD_TIMEOUT_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, unless there are too many, and start the timeout of its first
        head.
        """
        super().connection_made(transport)
        self._heads = 0
        self._head_bytes = self._received = self._discarded_bytes = 0
        self._in_body = self._too_large = self._passing_over = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._fast_path: FastPath | None = None
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout, and cancel the request under way."""
        self._head_done()
        super().connection_lost(exc)
        if self._fast_path is not None:
            self._fast_path.disconnect()

    def data_received(self, data: bytes) -> None:
        """Limit a head, and what follows an answer that did not wait for its body. Other bodies are
        counted later.
        """
        heads, in_body = self._heads, self._in_body
        self._received = len(data)
        self._unset_keepalive_if_required()
        self._feed(data)
        if self._heads != heads or self.transport.is_closing():
            return
        if not in_body:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._expect_head()
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge("the head is over 64 KiB."))
        elif self.cycle.response_complete:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > MAX_DISCARDED_BYTES:
                self.transport.close()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self.parser.get_method() == b"CONNECT":
                self._refuse(MalformedHttp("CONNECT is not supported here."))
                return
            head = self._head_without_upgrade()
            self._parse_anew()
            self._feed(head + rest)
        except httptools.HttpParserError:
            self.send_400_response("")

    def _parse_anew(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it

    def _head_without_upgrade(self) -> bytes:
        """The head that was just read, without the headers that ask for another protocol."""
        lines = [
            b"%b %b HTTP/%b"
            % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        ]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(
                    each for each in value.split(b",") if each.strip().lower() not in _UPGRADE
                )
            if name not in _UPGRADE:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def on_headers_complete(self) -> None:
        """The head is complete: pass the request on, unless it is too large or will be read again
        without `Upgrade`.
        """
        if (
            self._head_bytes + self._received > MAX_HEAD_BYTES
            and self._head_size() > MAX_HEAD_BYTES
        ):
            self._too_large = True
            raise HeadTooLarge("the head is over 64 KiB.")
        if self.parser.should_upgrade():
            return
        self._heads += 1
        self._head_bytes = self._discarded_bytes = 0
        self._in_body = True
        self._head_done()
        super().on_headers_complete()
        self.cycle.keep_alive = (
            self.cycle.keep_alive and self.parser.should_keep_alive()
        )  # older uvicorn does not ask
        self._fast_path = FastPath(self.cycle)
        self.scope["extensions"] = {_FAST_PATH: self._fast_path}  # type: ignore[dict-item]  # only take_fast_path reads it

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self.parser.should_upgrade() and not self._passing_over:
            if not self.cycle.body and not self.cycle.response_complete:
                self.cycle.body, body = body, b""  # type: ignore[assignment]  # bytes pass uvicorn without a copy
            super().on_body(body)

    async def read_body(self, length_bytes: int, *, timeout_s: float) -> memoryview:
        """The body of the request under way, past the parser. Raises BodyTimeout or ClientGone."""
        cycle = self.cycle
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        begun, cycle.body = cycle.body, bytearray()
        reader = LargeBodyReader(self, begun, length_bytes)
        try:
            await reader.read(timeout_s=timeout_s)
        except BaseException:
            self._pass_over(bytes(reader.give_away()[1]))
            raise
        self._parse_anew()  # the old parser still expects what it did not see
        self._in_body = cycle.more_body = False
        return reader.give_away()[0]

    def _pass_over(self, part: bytes) -> None:
        """Have the parser see a part of the body that nobody wants any more, so that it finds the
        next request.
        """
        if self.parser is not None:
            self._passing_over = True
            self._feed(part)
            self._passing_over = False

    def on_message_complete(self) -> None:
        """The end of the body."""
        if self.parser.should_upgrade():
            return
        self._in_body = False
        super().on_message_complete()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

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
        if (
            self._head_bytes == 0 and self.cycle is None
        ):  # the client sent nothing, so there is nothing to answer
            self.transport.close()
            return
        limit_s = f"{self.head_timeout_s:g} s"
        self._refuse(
            HeadTimeout(f"the head did not arrive within {limit_s}; send it again, in one go.")
        )

    def _refuse(self, error: ServingError) -> None:
        self._head_done()
        if self.transport.is_closing():
            return
        answer = error_answer(error)
        body, phrase = answer.body(), answer.phrase.encode()
        head = (
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: "
            b"%d\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head % (answer.status, phrase, len(body)) + body)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in JSON too."""
        if self._too_large:
            self._refuse(HeadTooLarge("the head is over 64 KiB."))
            return
        self._refuse(MalformedHttp("this is not a valid HTTP/1.1 request."))


class LargeBodyReader(asyncio.BufferedProtocol):
    """Reads the rest of one body, of which `begun` has arrived, and nothing beyond it."""

    def __init__(
        self, connection: HttpToolsProtocol, begun: bytes | bytearray, length_bytes: int
    ) -> None:
        self._connection = connection
        self._body = np.empty(length_bytes, np.uint8).data
        self._begun_bytes = self._received = len(begun)
        self._body[: len(begun)] = begun
        self._complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(self, *, timeout_s: float) -> None:
        """Wait for the last byte. Raises BodyTimeout or ClientGone. Then the connection's protocol
        reads again.
        """
        self._let_read(self)
        try:
            async with asyncio.timeout(timeout_s):
                await self._complete
        except TimeoutError:
            raise BodyTimeout(
                f"the body did not arrive within {timeout_s:g} s; send it again, in one go."
            ) from None
        finally:
            if not self._connection.transport.is_closing():
                self._let_read(self._connection)

    def give_away(self) -> tuple[memoryview, memoryview]:
        """The body and, of it, what was read here. Nothing is kept: uvloop keeps a connection's
        last reader.
        """
        body, self._body = self._body, memoryview(b"")
        return body, body[self._begun_bytes : self._received]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes belong."""
        return self._body[self._received :]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what was read; after the last byte, read no more."""
        self._received += nbytes
        if self._received == len(self._body):
            self._connection.flow.pause_reading()
            if not self._complete.done():
                self._complete.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected, or the server closes the connection."""
        self._connection.connection_lost(exc)
        if not self._complete.done():
            self._complete.set_exception(
                ClientGone("the client disconnected before its body was complete.")
            )

    def pause_writing(self) -> None:
        """See asyncio."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio."""
        self._connection.resume_writing()

    def _let_read(self, protocol: asyncio.BaseProtocol) -> None:
        """Have `protocol` read from now on. Paused meanwhile, because uvloop goes on reading for
        the one before.
        """
        self._connection.flow.pause_reading()
        self._connection.transport.set_protocol(protocol)
        self._connection.flow.resume_reading()
