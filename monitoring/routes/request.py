"""What the routes read of a request: its body, no further than a limit, and its query."""

from typing import Any

from anyio import to_thread
from starlette.requests import Request

from monitoring.errors import BodyTooLarge, QueryInvalid, brief
from monitoring.feedback.body import read_json

BODY_LIMIT_BYTES = 8 * 1024 * 1024


async def read_json_body(request: Request) -> Any:
    """The body's JSON, parsed off the event loop. Raises BodyTooLarge, BodyMalformed."""
    return await to_thread.run_sync(read_json, await read_body(request))


async def read_body(request: Request) -> bytes:
    """The body, read no further than the limit. Raises BodyTooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT_BYTES:
            raise BodyTooLarge(BODY_LIMIT_BYTES)
    return bytes(body)


def read_version(request: Request) -> int | None:
    """The version that the query names, if it names one. Raises QueryInvalid."""
    text = request.query_params.get("version")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 9):
        raise QueryInvalid(f"A version is a whole number such as 3; got {brief(text)}.")
    return int(text)
