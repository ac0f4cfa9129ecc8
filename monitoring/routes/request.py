"""Reading the bodies of requests, up to a limit and within the memory for bodies."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request

from monitoring.errors import BodyNotJson, BodyTooLarge
from monitoring.http.body_budget import JSON_COPIES, TABLE_BYTES, BodyBudget, Hold, check_encoding

BODY_LIMIT_BYTES = 8 * 1024 * 1024
STALL_S = 30.0
PARSED_AT_ONCE: Final = 2  # they share the interpreter's lock, so more would only need more memory
_STALLED: Final = (
    f"The client sent nothing for {STALL_S:g} s. What arrived before is recorded; send all of it "
    "again."
)
_SPLIT = "Send the labels in several requests."
_Given = TypeVar("_Given")
_Parsed = TypeVar("_Parsed")


class BodyReader:
    """Reads bodies within a budget, and parses PARSED_AT_ONCE at a time in threads."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._parsing = CapacityLimiter(PARSED_AT_ONCE)

    @asynccontextmanager
    async def parsed(
        self, request: Request, parse: Callable[[bytes], _Parsed]
    ) -> AsyncIterator[_Parsed]:
        """What `parse` makes of a JSON body, which stays in memory until the block is left.

        Raises BodiesFull, BodyCompressed, BodyTooLarge, BodyTimeout, BodyNotJson, and what `parse`
        raises.
        """
        async with self._budget.hold(_expected_bytes(request), copies=JSON_COPIES) as hold:
            body = await _read_body(request, hold)
            yield await self.run(parse, body)

    def table(self) -> Hold:
        """The hold for a table, which streams through."""
        return self._budget.hold(TABLE_BYTES)

    async def run(self, parse: Callable[[_Given], _Parsed], given: _Given) -> _Parsed:
        """`parse(given)`, once there is room for it."""
        return await to_thread.run_sync(parse, given, limiter=self._parsing)


def _expected_bytes(request: Request) -> int | None:
    """The declared length, if there is one. Raises BodyTooLarge before reading."""
    text = request.headers.get("content-length", "")
    if not text.isdecimal():
        return None
    if int(text) > BODY_LIMIT_BYTES:
        raise BodyTooLarge(limit_bytes=BODY_LIMIT_BYTES, got_bytes=int(text), advice=_SPLIT)
    return int(text)


async def _read_body(request: Request, hold: Hold) -> bytes:
    chunks = read_chunks(request, hold, limit_bytes=BODY_LIMIT_BYTES)
    return b"".join([chunk async for chunk in chunks])


async def read_chunks(request: Request, hold: Hold, *, limit_bytes: int) -> AsyncIterator[bytes]:
    """The body in pieces as they arrive, read up to the limit.

    Raises BodiesFull, BodyCompressed, BodyTooLarge, BodyTimeout, BodyNotJson.
    """
    check_encoding(request.headers.get("content-encoding", ""))
    size_bytes, stream = 0, request.stream()
    while True:
        try:
            async with hold.reading(STALL_S, late=_STALLED):
                chunk = await anext(stream, None)
        except ClientDisconnect:
            raise BodyNotJson("The client hung up before its body was complete.") from None
        if chunk is None:
            return
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise BodyTooLarge(limit_bytes=limit_bytes, advice=_SPLIT)
        await hold.cover(size_bytes)
        yield chunk


def media_type(request: Request) -> str:
    """The declared media type, in lower case without parameters; '' if there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
