"""The client that waits for an answer. If it disconnects first, its work is cancelled and the
batcher drops it.
"""

import asyncio
from collections.abc import Awaitable
from typing import Protocol, TypeVar

from starlette.types import Receive

from serving.errors import ClientGone

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
        """See Caller."""
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


class GrpcCaller:
    """A client of gRPC, which cancels the whole call when the client disconnects."""

    async def wait(self, answer: Awaitable[_Answer]) -> _Answer:
        """See Caller."""
        return await answer
