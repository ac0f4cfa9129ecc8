"""How the hot route reads a body, waits and answers: past ASGI (`FastPath`), or by its messages
(`AsgiCaller`), which would make a small answer a tenth slower.

If the client disconnects first, its work is cancelled and the batcher drops it.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, Protocol, TypeVar

from starlette.types import Receive, Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from monitoring.http.body_budget import Hold
from serving.errors import ClientGone

FAST_PATH: Final = "candor.fast_path"
_Answer = TypeVar("_Answer")
GONE = "the client disconnected before its answer was ready."


class Caller(Protocol):
    """The client of one request."""

    async def wait(self, answer: Awaitable[_Answer]) -> _Answer:
        """Await `answer`. If the client disconnects first, cancel it and raise ClientGone."""


class AsgiCaller:
    """A client whose disconnect is an ASGI message. A separate task waits for that message."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def wait(self, answer: Awaitable[_Answer]) -> _Answer:
        task = asyncio.ensure_future(answer)
        watch = asyncio.ensure_future(self._disconnected())
        try:
            await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            task.cancel()
            raise ClientGone(GONE)
        finally:
            watch.cancel()

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


class ReadBody(Protocol):
    """Reads a body past the parser; see BoundedProtocol."""

    async def __call__(self, length_bytes: int, hold: Hold, *, timeout_s: float) -> memoryview: ...


class FastPath:
    """Reads the body and writes the answer of one request without ASGI messages; also its Caller.

    Whatever it cannot do, `receive` and `send` still do.
    """

    __slots__ = ("_cycle", "_read_body", "_waiting")

    def __init__(self, cycle: RequestResponseCycle, read_body: ReadBody) -> None:
        self._cycle = cycle
        self._read_body = read_body
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

    async def read(self, length_bytes: int, hold: Hold, *, timeout_s: float) -> memoryview:
        """The rest of the body, from the system. Raises BodyTimeout, BodiesFull or ClientGone."""
        if self._cycle.disconnected or self._cycle.transport.is_closing():
            raise ClientGone("the client disconnected before its body was complete.")
        return await self._read_body(length_bytes, hold, timeout_s=timeout_s)

    def discard(self) -> None:
        """Forget what has arrived of a body that is refused, because the answer may be delayed."""
        self._cycle.body = bytearray()

    def answer(self, body: bytes, *, media_type: bytes, close: bool) -> bool:
        """Answer 200 in a single write. False if the client reads too slowly for that now."""
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
    fast_path: FastPath | None = scope.get("extensions", {}).pop(FAST_PATH, None)
    return fast_path
