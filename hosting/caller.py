"""The client of one request: its body, whole and within limits of bytes, time and memory; and
`Caller`, for which nothing goes on once it has left.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from starlette.types import Receive

from hosting.errors import ClientGone
from monitoring.errors import BodyTooLarge
from monitoring.http.body_budget import Hold

_Answer = TypeVar("_Answer")
GONE: Final = "the client disconnected before its answer was ready."
# What is answered sooner is not worth looking after: to look costs as much as a tiny model.
LOOK_AFTER_S: Final = 0.01
SMALLER = "Send a smaller image."


async def read_body(
    receive: Receive, *, limit_bytes: int, timeout_s: float, hold: Hold, advice: str = SMALLER
) -> bytes:
    """The whole body. Raises BodyTooLarge, with `advice`, as soon as it is over the limit.

    Other errors are BodyTimeout, BodiesFull and ClientGone.
    """
    late = f"the body did not arrive within {timeout_s:g} s; send it again, in one go."
    async with hold.reading(timeout_s, late=late):
        return await _read_bounded(receive, limit_bytes, hold, advice)


async def _read_bounded(receive: Receive, limit_bytes: int, hold: Hold, advice: str) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if (
        message["type"] == "http.request"
        and not message.get("more_body", False)
        and len(body) <= limit_bytes
    ):
        await hold.cover(len(body))
        return body
    parts: list[bytes] = []  # joined once: a buffer that grows is copied again and again
    received = 0
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        received += len(parts[-1])
        if received > limit_bytes:
            raise BodyTooLarge(limit_bytes=limit_bytes, advice=advice)
        await hold.cover(received)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
    raise ClientGone("the client disconnected before its body was complete.")


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
