"""A request that the main process answers for a front: its ASGI messages travel between the two."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from serving.fronts.connection import FrameConnection
from serving.fronts.messages import (
    AnswerStarted,
    BodyPart,
    BodyWanted,
    ClientLeft,
    PartSent,
    RequestEnded,
    RequestOpened,
)

logger = logging.getLogger(__name__)

_GONE: Final[AsgiMessage] = {"type": "http.disconnect"}


class RelayedRequest:
    """The front's side of a request."""

    def __init__(
        self, connection: FrameConnection, number: int, receive: Receive, send: Send
    ) -> None:
        self._connection, self._number = connection, number
        self._receive, self._send = receive, send
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None

    def handle(self, message: BodyWanted | AnswerStarted | BodyPart | RequestEnded) -> None:
        """Take a message of the main process."""
        self._arrived.put_nowait(message)

    async def run(self, scope: Scope) -> None:
        """Pass the request on, and its answer back."""
        self._connection.send(_opened(self._number, scope))
        ended = False
        try:
            while not ended:
                message = await self._arrived.get()
                ended = isinstance(message, RequestEnded)
                await self._take(message)
        finally:
            if self._reading is not None:
                self._reading.cancel()
            if not ended:
                self._connection.send(RequestEnded(self._number))

    async def _take(self, message: Any) -> None:
        if isinstance(message, BodyWanted):
            # Beside the answer, because it may wait until the client disconnects.
            self._reading = asyncio.ensure_future(self._read())
        elif isinstance(message, AnswerStarted):
            await self._send(
                {
                    "type": "http.response.start",
                    "status": message.status,
                    "headers": list(message.headers),
                }
            )
        elif isinstance(message, BodyPart):
            await self._send(
                {"type": "http.response.body", "body": message.data, "more_body": message.more}
            )
            self._connection.send(PartSent(self._number))

    async def _read(self) -> None:
        message = await self._receive()
        if message["type"] == "http.request":
            await self._connection.writable()
            part = BodyPart(
                self._number, bytes(message.get("body", b"")), message.get("more_body", False)
            )
            self._connection.send(part)
        else:
            self._connection.send(ClientLeft(self._number))


class RemoteRequest:
    """The main process's side of a request. `ended` is called with its number when the application
    is done.
    """

    def __init__(
        self, connection: FrameConnection, opened: RequestOpened, *, ended: Callable[[int], None]
    ) -> None:
        self._connection, self._opened, self._ended = connection, opened, ended
        self._arrived: asyncio.Queue[AsgiMessage] = asyncio.Queue()
        self._asked = self._gone = False
        self._sent = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, app: ASGIApp) -> None:
        """Let `app` answer."""
        self._task = asyncio.ensure_future(self._run(app))

    def handle(self, message: BodyPart | ClientLeft | PartSent | RequestEnded) -> None:
        """Take a message of the front."""
        if isinstance(message, PartSent):
            self._sent.set()
        elif isinstance(message, BodyPart):
            self._arrived.put_nowait(
                {"type": "http.request", "body": message.data, "more_body": message.more}
            )
        else:
            self.lose()

    def lose(self) -> None:
        """The client has disconnected, or its front has ended."""
        self._gone = True
        self._arrived.put_nowait(_GONE)
        self._sent.set()

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(_scope(self._opened), self._receive, self._send)
        except (
            Exception
        ):  # the edge of the request; the front answers 500 if the application has not answered
            logger.exception("request failed", extra={"fields": {"path": self._opened.path[:200]}})
        finally:
            self._connection.send(RequestEnded(self._opened.number))
            self._ended(self._opened.number)

    async def _receive(self) -> AsgiMessage:
        if self._gone and self._arrived.empty():
            return _GONE
        if not self._asked and not self._gone:
            self._asked = True
            self._connection.send(BodyWanted(self._opened.number))
        message = await self._arrived.get()
        self._asked = False
        return message

    async def _send(self, message: AsgiMessage) -> None:
        if self._gone:
            return
        if message["type"] == "http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
            self._connection.send(AnswerStarted(self._opened.number, message["status"], headers))
            return
        more = message.get("more_body", False)
        self._sent.clear()
        self._connection.send(BodyPart(self._opened.number, bytes(message.get("body", b"")), more))
        if more:
            await self._sent.wait()


def replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose `body` has been read already."""
    first: list[AsgiMessage] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> AsgiMessage:
        return first.pop() if first else await receive()

    return read


def _opened(number: int, scope: Scope) -> RequestOpened:
    return RequestOpened(
        number=number,
        method=scope["method"],
        path=scope["path"],
        raw_path=scope.get("raw_path") or b"",
        query=scope["query_string"],
        http_version=scope["http_version"],
        scheme=scope["scheme"],
        root_path=scope.get("root_path", ""),
        headers=[(bytes(name), bytes(value)) for name, value in scope["headers"]],
        client=_address(scope.get("client")),
        server=_address(scope.get("server")),
    )


def _address(found: Any) -> tuple[str, int | None] | None:
    return None if found is None else (found[0], found[1])


def _scope(opened: RequestOpened) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": opened.method,
        "path": opened.path,
        "raw_path": opened.raw_path,
        "query_string": opened.query,
        "http_version": opened.http_version,
        "scheme": opened.scheme,
        "root_path": opened.root_path,
        "headers": opened.headers,
        "client": opened.client,
        "server": opened.server,
        "state": {},
    }
