"""`Exchange`: what a server of HTTP leaves to the application around each request.

An answer carries its request's own id and names no software but Candor. The rest of a body that the
application did not want is read and forgotten, so that the client, which may still send it, can
read the answer. A body that broke off is answered as malformed, whatever the application says.
"""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hosting.error_table import error_answer
from hosting.errors import MalformedHttp
from hosting.request_log import GONE, REQUEST_ID
from monitoring.http.fields import ID_LIMIT

REST_S: Final = 10.0  # for which the rest of a body may come after its answer
_SERVER: Final = (b"server", b"candor")
_BROKEN: Final = "the body is not valid in HTTP/1.1, or ended too early."


class Exchange:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        one = _Exchange(scope, receive, send)
        await self._app(scope, one.receive, one.send)
        await one.end()


class _Exchange:
    """One request and its answer."""

    __slots__ = ("_answered", "_broken", "_headers", "_receive", "_send", "_unread")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._answered, self._unread, self._broken = False, False, False
        self._headers = [_SERVER]
        expects = False
        for name, value in scope["headers"]:
            if name == REQUEST_ID and 0 < len(value) <= 4 * ID_LIMIT:
                self._headers.append((name, value))
            elif name in (b"content-length", b"transfer-encoding"):
                self._unread = True
            elif name == b"expect":
                expects = True
        # without its permission the client sends no body
        self._unread = self._unread and not expects

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._broken = self._unread
        self._unread = message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] != GONE:
            self._answered = True
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        if self._answered:
            await self._send(message)

    async def end(self) -> None:
        if self._broken and not self._answered:
            await self._refuse()
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                while self._unread:
                    await self.receive()

    async def _refuse(self) -> None:
        answer = error_answer(MalformedHttp(_BROKEN))
        headers = [(b"content-type", b"application/json"), *answer.headers]
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": answer.body()})
