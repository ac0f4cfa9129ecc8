"""A table that streams in: read in portions, recorded while the next ones are on their way, answered by a summary.

Memory is bounded whatever the length: at most PORTIONS portions wait for the ledger, and a client that sends faster has
to wait. Results are not sent while the table is still coming, because a client that sends before it reads would block.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from monitoring.routes.request import read_chunks
from monitoring.routes.tables import Row, Table

TABLE_LIMIT_BYTES = 1024**3
PORTION_BYTES = 256 * 1024
PORTIONS = 4
PROBLEMS_SHOWN = 10_000


class Outcome(NamedTuple):
    """What became of a row; `problem` says why it was not recorded, None where it was."""

    status: str
    problem: str | None = None


class Intake(Protocol):
    """What is done with rows."""

    def read(self, rows: Sequence[Row]) -> list[Any]:
        """Judge them, in a worker's thread; one thing a row."""

    def write(self, read: Sequence[Any]) -> Coroutine[Any, Any, list[Outcome]]:
        """Record them, in the order of calls; one outcome a row."""


@dataclass
class Summary:
    """What became of a table."""

    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[dict[str, Any]] = field(default_factory=list)
    problems_left_out: int = 0

    def add(self, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        """Count a portion."""
        self.rows += len(rows)
        self.statuses.update(outcome.status for outcome in outcomes)
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome.problem is None:
                continue
            if len(self.problems) < PROBLEMS_SHOWN:
                self.problems.append({"line": row.line, "status": outcome.status, "detail": outcome.problem})
            else:
                self.problems_left_out += 1


async def take(request: Request, table: Table, intake: Intake) -> Response:
    """Read, record and answer a table. Raises TableInvalid, BodyTooLarge, BodyStalled and what `write` raises.

    Whatever is raised, what was read before is recorded, and the same table can be sent again.
    """
    summary = Summary()
    waiting: deque[tuple[Sequence[Row], asyncio.Task[list[Outcome]]]] = deque()
    try:
        async for chunk in _portions(request):
            rows = await to_thread.run_sync(table.feed if chunk else _ended(table), chunk)
            read = await to_thread.run_sync(intake.read, rows)
            waiting.append((rows, asyncio.create_task(intake.write(read))))
            if len(waiting) >= PORTIONS:
                await _next(waiting, summary)
        while waiting:
            await _next(waiting, summary)
    finally:
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
    shown = {"rows": summary.rows, "statuses": dict(sorted(summary.statuses.items()))}
    return JSONResponse(shown | {"problems": summary.problems, "problems_left_out": summary.problems_left_out})


async def _portions(request: Request) -> Any:
    """The body in larger pieces than it comes in, then b"" for its end."""
    held = bytearray()
    async for chunk in read_chunks(request, limit_bytes=TABLE_LIMIT_BYTES):
        held += chunk
        if len(held) >= PORTION_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
    yield b""


def _ended(table: Table) -> Any:
    return lambda _: table.end()


async def _next(waiting: deque[tuple[Sequence[Row], asyncio.Task[list[Outcome]]]], summary: Summary) -> None:
    rows, task = waiting.popleft()
    summary.add(rows, await task)
