"""Who waits for an answer; when they hang up first, what is done for them is cancelled, and the batcher drops it."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol, TypeVar

from starlette.types import Receive

from serving.errors import ClientGone

_Answer = TypeVar("_Answer")
GONE = "the client hung up before its answer was ready."


class Caller(Protocol):
    """The client of one request."""

    async def wait(self, answer: Awaitable[_Answer]) -> _Answer:
        """Await `answer`; when the client hangs up first, cancel it and raise ClientGone."""


class AsgiCaller:
    """A client whose hanging up is an ASGI message, for which a task of its own listens."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def wait(self, answer: Awaitable[_Answer]) -> _Answer:
        """As Caller says."""
        task = asyncio.ensure_future(answer)
        watch = asyncio.ensure_future(self._hung_up())
        try:
            await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            task.cancel()
            raise ClientGone(GONE)
        finally:
            watch.cancel()

    async def _hung_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


class GrpcCaller:
    """A client whose transport cancels the whole call when it is gone, as gRPC does."""

    async def wait(self, answer: Awaitable[_Answer]) -> _Answer:
        """As Caller says."""
        return await answer
