"""`Caller`: the client of one request. What it waits for ends when it leaves."""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from starlette.types import Receive

from serving.errors import ClientGone

_Answer = TypeVar("_Answer")
GONE: Final = "the client disconnected before its answer was ready."


class Caller:
    """A client whose disconnect is an ASGI message, once its body has been read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def wait(self, answer: Awaitable[_Answer]) -> _Answer:
        """Await `answer`. If the client disconnects first, cancel it and raise ClientGone."""
        task = asyncio.ensure_future(answer)
        watch = asyncio.ensure_future(self._disconnected())
        try:
            await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ClientGone(GONE)
        finally:
            task.cancel()
            watch.cancel()

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
