"""How a connection is read: by the parser in turns, a large body past it, and no head that two
programs could read differently.

Connections whose input is much work for the parser take turns, so that they cannot hold up the
event loop: together they get TURN_S of each of its turns. Requests that they begin are work for the
loop's next turn, so fewer connections get a turn while that takes longer than LOOP_TURN_S.
"""

import asyncio
import re
import time
from collections import deque
from typing import Final, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from monitoring.http.body_budget import FIRST_BYTES, Hold
from serving.errors import ClientGone, HeadTooLarge, MalformedHttp

TURN_S: Final = 0.002
LOOP_TURN_S: Final = 0.005
MOST: Final = 64


class Parsing(Protocol):
    """Something with input that it has not parsed yet."""

    def parse(self) -> None:
        """Parse a little of it, and call `ParsingTurns.wait` again if there is more."""


class HeldFlow(FlowControl):
    """uvicorn's flow control, which reads nothing while it is held, whoever resumes it. It ends the
    connection of a client that reads nothing of its answers for `unread_s`.
    """

    held = False

    def __init__(self, transport: asyncio.Transport, unread_s: float) -> None:
        super().__init__(transport)
        self._unread_s = unread_s
        self._unread: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        abort = self._transport.abort
        self._unread = asyncio.get_running_loop().call_later(self._unread_s, abort)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
        super().resume_writing()

    def hold(self, held: bool) -> None:
        """Read nothing from now on, or go on."""
        if held != self.held:
            self.held = held
            if not self.read_paused:
                (self._transport.pause_reading if held else self._transport.resume_reading)()

    def pause_reading(self) -> None:
        if self.held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        if self.held:
            self.read_paused = False
        else:
            super().resume_reading()


class ParsingTurns:
    """The connections of one event loop that wait to be parsed, in the order of arrival."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Parsing] = deque()
        self._scheduled = False
        self._most = MOST  # connections that are parsed in a turn

    def wait(self, connection: Parsing) -> None:
        """Call `parse` of `connection` when its turn has come. It must not wait already."""
        self._waiting.append(connection)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._scheduled = False
        begun_s = time.monotonic()
        for _ in range(min(self._most, len(self._waiting))):
            self._waiting.popleft().parse()
            if time.monotonic() - begun_s > TURN_S:
                break
        self._loop.call_soon(self._weigh, begun_s)  # after what these have begun
        if self._waiting:
            self._schedule()

    def _weigh(self, begun_s: float) -> None:
        is_slow = time.monotonic() - begun_s > LOOP_TURN_S
        self._most = max(self._most // 2, 1) if is_slow else min(self._most + 1, MOST)


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, ParsingTurns] = WeakKeyDictionary()


def parsing_turns(loop: asyncio.AbstractEventLoop) -> ParsingTurns:
    if loop not in _turns:
        _turns[loop] = ParsingTurns(loop)
    return _turns[loop]


class LargeBodyReader(asyncio.BufferedProtocol):
    """Reads the rest of one body, of which `begun` has arrived, and nothing beyond it."""

    def __init__(
        self, connection: HttpToolsProtocol, begun: bytes | bytearray, length_bytes: int, hold: Hold
    ) -> None:
        self._connection, self._hold = connection, hold
        self._body = np.empty(length_bytes, np.uint8).data
        self._begun_bytes = self._received = len(begun)
        self._body[: len(begun)] = begun
        self._wanted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._until = 0

    async def read(self, *, timeout_s: float) -> None:
        """Wait for the last byte. Raises BodyTimeout, BodiesFull or ClientGone. Then the
        connection's protocol reads again.
        """
        late = f"the body did not arrive within {timeout_s:g} s; send it again, in one go."
        try:
            async with self._hold.reading(timeout_s, late=late):
                await self._read_until(FIRST_BYTES)
                await self._hold.cover(self._received)
                await self._read_until(len(self._body))
        finally:
            if not self._connection.transport.is_closing():
                self._let_read(self._connection)

    async def _read_until(self, until: int) -> None:
        if self._received < until:
            self._until = until
            self._wanted = asyncio.get_running_loop().create_future()
            self._let_read(self)
            await self._wanted

    def give_away(self) -> tuple[memoryview, memoryview]:
        """The body and what was read here. Keeps nothing: uvloop keeps the last reader."""
        body, self._body = self._body, memoryview(b"")
        return body, body[self._begun_bytes : self._received]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes belong."""
        return self._body[self._received : self._until]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what was read; after the last byte that is wanted, read no more."""
        self._received += nbytes
        self._hold.received_bytes = self._received
        if self._received == self._until:
            self._connection.flow.pause_reading()
            if not self._wanted.done():
                self._wanted.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected, or the server closes the connection."""
        self._connection.connection_lost(exc)
        if not self._wanted.done():
            self._wanted.set_exception(
                ClientGone("the client disconnected before its body was complete.")
            )

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def _let_read(self, protocol: asyncio.BaseProtocol) -> None:
        """Have `protocol` read from now on. Paused meanwhile: uvloop would go on for the former."""
        self._connection.flow.pause_reading()
        self._connection.transport.set_protocol(protocol)
        self._connection.flow.resume_reading()


# of the target, and of each header but cookies, which proxies that sign people in make long: what
# reads a query or a content type of 60 KB takes 6 to 19 ms
MAX_LINE_BYTES: Final = 8 * 1024
_HOST: Final = re.compile(rb"(\[[\da-fA-F:.]+\]|[\w.-]*)(:\d*)?")
_ONCE: Final = (b"host", b"authorization")


def check_head(
    names: list[bytes], headers: dict[bytes, bytes], http_version: str, target: bytes
) -> None:
    """Raise MalformedHttp for what the parser takes, and another program might read otherwise, or
    HeadTooLarge.
    """
    if http_version not in ("1.0", "1.1"):
        raise MalformedHttp(f"HTTP/{http_version} is not spoken here; use HTTP/1.1.")
    lines = (value for name, value in headers.items() if name != b"cookie")
    if max(map(len, (target, *lines))) > MAX_LINE_BYTES:
        raise HeadTooLarge("the address in the request, or a header, is over 8 KiB.")
    if headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        raise MalformedHttp("the only transfer encoding that this server reads is chunked.")
    if http_version == "1.0" and b"transfer-encoding" in headers:
        raise MalformedHttp("HTTP/1.0 has no transfer encoding.")
    for name in _ONCE:
        if names.count(name) > 1:
            raise MalformedHttp(f"the header {name.decode()} was sent twice.")
    if http_version == "1.1" and b"host" not in headers:
        raise MalformedHttp("HTTP/1.1 needs the header host.")
    if not _HOST.fullmatch(headers.get(b"host", b"")):
        raise MalformedHttp("the header host is no name or address, with a port or without.")
    if not target.startswith(b"/"):
        _, _, named = target.partition(b"://")
        if named and named.partition(b"/")[0].lower() != headers.get(b"host", b"").lower():
            raise MalformedHttp("the target names another host than the header host.")
    if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise MalformedHttp("the only expectation that this server meets is 100-continue.")
