"""Reads a body whole, within limits of bytes, time and memory."""

from starlette.types import Receive

from hosting.errors import ClientGone
from monitoring.errors import BodyTooLarge
from monitoring.http.body_budget import Hold

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
