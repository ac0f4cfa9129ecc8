"""The middleware in Ray Serve's proxies, which makes them answer as a single server would.

By itself Ray gives every request an id, which the ledger would take for the client's own, and
answers in plain text where no replica does. `FrontMiddleware` tells the replica whether the client
sent an id, and answers in JSON. A replica refuses a request that did not pass it.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hosting.error_table import error_answer
from hosting.errors import ReplicaLost
from serving.inference.answer import JSON_HEADER

if TYPE_CHECKING:
    from starlette.middleware import Middleware

logger = logging.getLogger(__name__)

# In requests: what FrontMiddleware says about the client's request id.
FRONT: Final = b"x-candor-front"
REPLICA: Final = b"x-candor-replica"  # in answers: a replica gave it
REQUEST_ID: Final = b"x-request-id"
OWN_ID: Final = b"client"
NO_ID: Final = b"none"
# Of Ray's proxies themselves, for load balancers.
RAY_PATHS: Final = frozenset({"/-/healthz", "/-/routes"})

Headers = list[tuple[bytes, bytes]]


def middlewares() -> "list[Middleware]":
    """The middlewares of Ray's proxies, which find this function by its name."""
    from starlette.middleware import Middleware

    return [Middleware(FrontMiddleware)]


class FrontMiddleware:
    """Marks requests, and replaces answers that no replica gave by ReplicaLost."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in RAY_PATHS:
            await self._app(scope, receive, send)
            return
        own = next((pair for pair in scope["headers"] if pair[0] == REQUEST_ID), None)
        answer = _Answer(send, [own] if own else [])
        try:
            await self._app({**scope, "headers": marked(scope["headers"])}, receive, answer.send)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            # What began breaks off: the connection is closed, and the client sees that the answer
            # is not complete.
            if answer.begun or (task is not None and task.cancelling()):
                raise
            logger.warning("Ray's proxy failed", extra={"fields": {"error": repr(error)[:500]}})
        if not answer.begun:
            await answer.refuse()


class _Answer:
    def __init__(self, send: Send, echoed: Headers) -> None:
        """`echoed`: the request id that the client sent, which the answer carries too."""
        self._send, self._echoed = send, echoed
        self._replaced = False
        self.begun = False

    async def send(self, message: Message) -> None:
        """Pass on what a replica sends; replace any other answer by ReplicaLost."""
        self.begun = True
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if any(name.lower() == REPLICA for name, _ in headers):
                own = [pair for pair in headers if pair[0].lower() not in (REPLICA, REQUEST_ID)]
                await self._send({**message, "headers": own + self._echoed})
                return
            self._replaced = True
            await self.refuse()
        elif not self._replaced:
            await self._send(message)

    async def refuse(self) -> None:
        answer = error_answer(ReplicaLost())
        body = answer.body()
        length = (b"content-length", str(len(body)).encode())
        headers = [JSON_HEADER, *answer.headers, length, *self._echoed]
        await self._send(
            {"type": "http.response.start", "status": answer.status, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": body})


def marked(headers: Headers) -> Headers:
    """The headers of a client, with whether it sent a request id.

    >>> marked([(b"host", b"a"), (b"x-candor-front", b"forged")])
    [(b'host', b'a'), (b'x-candor-front', b'none')]
    """
    own = any(name == REQUEST_ID for name, _ in headers)
    return [*(pair for pair in headers if pair[0] != FRONT), (FRONT, OWN_ID if own else NO_ID)]


def unmarked(headers: Headers) -> Headers | None:
    """The headers as the client sent them; None if they did not pass the front.

    >>> unmarked([(b"host", b"a"), (b"x-candor-front", b"none"), (b"x-request-id", b"made by Ray")])
    [(b'host', b'a')]
    """
    mark = next((value for name, value in headers if name == FRONT), None)
    if mark is None:
        return None
    dropped = (FRONT,) if mark == OWN_ID else (FRONT, REQUEST_ID)
    return [(name, value) for name, value in headers if name not in dropped]
