"""Reading requests: the body, up to a limit, and the query."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from monitoring.api.endpoint import LOCAL
from monitoring.errors import BodyNotJson, BodyTimeout, BodyTooLarge, QueryInvalid, brief

BODY_LIMIT_BYTES = 8 * 1024 * 1024
STALL_S = 30.0
_SPLIT = "Send the labels in several requests."


async def read_body(request: Request) -> bytes:
    """The body, read up to the limit. Raises BodyTooLarge, BodyTimeout, BodyNotJson."""
    return b"".join([chunk async for chunk in read_chunks(request, limit_bytes=BODY_LIMIT_BYTES)])


async def read_chunks(request: Request, *, limit_bytes: int) -> AsyncIterator[bytes]:
    """The body in pieces as they arrive, read up to the limit. Raises BodyTooLarge, BodyTimeout, BodyNotJson."""
    size_bytes, stream = 0, request.stream()
    while True:
        try:
            async with asyncio.timeout(STALL_S):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise BodyTimeout(
                f"The client sent nothing for {STALL_S:g} s. What arrived before is recorded; send all of it again."
            ) from None
        except ClientDisconnect:
            raise BodyNotJson("The client hung up before its body was complete.") from None
        if chunk is None:
            return
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise BodyTooLarge(limit_bytes=limit_bytes, advice=_SPLIT)
        yield chunk


def read_actor(request: Request) -> str:
    """Who sends the request: the name of its token, `local` without tokens."""
    return getattr(request.state, "actor", LOCAL)


def media_type(request: Request) -> str:
    """The declared media type of the body, in lower case without parameters; empty if none is declared."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_version(request: Request) -> int | None:
    """The version in the query, if there is one. Raises QueryInvalid."""
    text = request.query_params.get("version")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 9):
        raise QueryInvalid(f"The query's 'version' must be a whole number such as 3; got {brief(text)}.")
    return int(text)
