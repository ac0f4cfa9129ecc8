"""`Caller`: the client of one request. What it waits for ends when it leaves."""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from starlette.types import Receive

from hosting.errors import ClientGone

_Answer = TypeVar("_Answer")
GONE: Final = "the client disconnected before its answer was ready."
# What is answered sooner is not worth looking after: to look costs as much as a tiny model.
LOOK_AFTER_S: Final = 0.01


class Caller:
    """A client whose disconnect is an ASGI message, once its body has been read."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def wait(self, answer: Awaitable[_Answer]) -> _Answer:
        """Await `answer`. If the client disconnects first, cancel it and raise ClientGone."""
        loop, waiting = asyncio.get_running_loop(), asyncio.current_task()
        assert waiting is not None
        watch: asyncio.Task[None] | None = None
        left = False

        async def end_when_gone() -> None:
            nonlocal left
            while (await self._receive())["type"] != "http.disconnect":
                pass
            left = True
            waiting.cancel()

        def look() -> None:
            nonlocal watch
            watch = loop.create_task(end_when_gone())

        timer = loop.call_later(LOOK_AFTER_S, look)
        try:
            return await answer
        except asyncio.CancelledError:
            if not left:
                raise
            waiting.uncancel()
            raise ClientGone(GONE) from None
        finally:
            timer.cancel()
            if watch is not None:
                watch.cancel()
