"""Reading requests: the body, up to a limit and within the memory for bodies, and the query."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, TypeVar, cast, get_args

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request

from calibration.diagnosis.planner import LARGEST_GAP, SMALLEST_GAP
from monitoring.diagnosis.coverage import NOW
from monitoring.errors import BodyNotJson, BodyTooLarge, QueryInvalid, brief
from monitoring.feedback.body import check_storable
from monitoring.http.body_budget import JSON_COPIES, TABLE_BYTES, BodyBudget, Hold, check_encoding
from monitoring.http.fields import read_whole_number
from monitoring.ledger.waiting import Queue
from monitoring.reports.page_data import Span, read_span

SKIP_LIMIT: Final = 100_000
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


class ReportQuery(NamedTuple):
    """What a report, or a page with one, is asked for."""

    model: str
    version: int | None
    finding: str | None
    window: str
    gap: float | None
    span: Span


def read_report_query(request: Request) -> ReportQuery:
    """Read the path and the query. Raises QueryInvalid."""
    query = request.query_params
    return ReportQuery(
        request.path_params["model"],
        read_version(request),
        read_finding(request),
        query.get("window", NOW),
        _read_gap(query.get("gap")),
        read_span(query.get("since"), query.get("until")),
    )


def read_finding(request: Request) -> str | None:
    """The finding in the query, if there is one. Raises QueryInvalid."""
    text = request.query_params.get("finding")
    if text == "":
        raise QueryInvalid("The query's 'finding' is empty; name a finding, or leave it out.")
    return check_storable("finding", text, refusal=QueryInvalid)


def _read_gap(text: str | None) -> float | None:
    """The gap that open questions ask for, if the query has one. Raises QueryInvalid."""
    try:
        gap = None if text is None else float(text)
    except ValueError:
        gap = math.nan
    if gap is not None and not SMALLEST_GAP <= gap <= LARGEST_GAP:
        raise QueryInvalid(
            f"The query's 'gap' must be from {SMALLEST_GAP:g} to {LARGEST_GAP:g}; got "
            f"{brief(text or '')}."
        )
    return gap


def read_version(request: Request) -> int | None:
    """The version in the query, if there is one. Raises QueryInvalid."""
    text = request.query_params.get("version")
    if text is None:
        return None
    return read_whole_number(text, "The query's 'version'", refusal=QueryInvalid)


def read_skip(text: str | None) -> int:
    """The number of answers to pass over. Raises QueryInvalid."""
    if text is None:
        return 0
    name, most = "The query's 'skip'", SKIP_LIMIT
    return read_whole_number(text, name, refusal=QueryInvalid, least=0, most=most)


def read_queue(text: str | None) -> Queue:
    """The queue of answers to label. Raises QueryInvalid."""
    for queue in get_args(Queue):
        if text in (None, queue):
            return cast(Queue, queue)
    raise QueryInvalid("The query's 'queue' is usual, random or doubtful.")
