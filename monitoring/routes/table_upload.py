"""A table that is recorded while it streams in: read in portions, and answered by a summary.

Memory is bounded whatever the length: at most PORTIONS portions wait for the ledger, and a client
that sends faster must wait. The response starts only after the table has ended, because a client
that does not read while it sends would block.
"""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, Protocol

from msgspec import Meta, Struct
from starlette.requests import Request

from monitoring.errors import TableInvalid
from monitoring.http.body_budget import Hold
from monitoring.routes.request import BodyReader, read_chunks
from monitoring.routes.tables import Row, TableReader

TABLE_LIMIT_BYTES = 1024**3
PORTION_BYTES = 256 * 1024
PORTION_ROWS = 2_000  # so that the event loop counts them in milliseconds
PORTIONS = 4
PROBLEMS_SHOWN = 10_000
REJECTED = "rejected"
REJECTED_LIMIT = 50_000


class RowProblem(Struct, frozen=True):
    """A row that was not recorded."""

    line: Annotated[int, Meta(description="where the row begins, the header included")]
    status: str
    detail: str


class TableSummary(Struct, frozen=True):
    """The result of a table: how many rows got which status, and why some were not recorded."""

    rows: int
    statuses: Annotated[dict[str, int], Meta(examples=[{"accepted": 812, "unchanged": 3}])]
    problems: Annotated[list[RowProblem], Meta(description=f"the first {PROBLEMS_SHOWN:,}")]
    problems_left_out: int


class RowOutcome(NamedTuple):
    """The result of a row; `problem` says why it was not recorded, None if it was."""

    status: str
    problem: str | None = None


class RowRecorder(Protocol):
    def read(self, rows: Sequence[Row]) -> list[Any]:
        """Check them, in a worker's thread; one item per row."""

    def write(self, read: Sequence[Any]) -> Coroutine[Any, Any, list[RowOutcome]]:
        """Record them, in the order of calls; one outcome per row."""


@dataclass
class _Progress:
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[RowProblem] = field(default_factory=list)
    problems_left_out: int = 0

    def add(self, rows: Sequence[Row], outcomes: Sequence[RowOutcome]) -> None:
        self.rows += len(rows)
        self.statuses.update(outcome.status for outcome in outcomes)
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome.problem is None:
                continue
            if len(self.problems) < PROBLEMS_SHOWN:
                self.problems.append(RowProblem(row.line, outcome.status, outcome.problem))
            else:
                self.problems_left_out += 1

    def check(self) -> None:
        """Raise TableInvalid after REJECTED_LIMIT rejected rows: this is no table to record."""
        if self.statuses[REJECTED] > REJECTED_LIMIT:
            rejected = (problem for problem in self.problems if problem.status == REJECTED)
            shown = "".join(
                f" The first is line {each.line}: {each.detail}"
                for each in itertools.islice(rejected, 1)
            )
            raise TableInvalid(
                f"Over {REJECTED_LIMIT:,} rows are rejected, so reading ended; valid rows before "
                f"are recorded.{shown}"
            )

    def summary(self) -> TableSummary:
        return TableSummary(
            self.rows, dict(sorted(self.statuses.items())), self.problems, self.problems_left_out
        )


async def receive_table(
    request: Request, table: TableReader, recorder: RowRecorder, *, bodies: BodyReader
) -> TableSummary:
    """Read and record a table. Raises TableInvalid, BodyTooLarge, BodyTimeout, BodiesFull and what
    `write` raises.

    After any error, the rows that were read before it are recorded, and the same table can be sent
    again.
    """
    async with bodies.table() as hold:
        return await _receive(_portions(request, hold), table, recorder, bodies)


async def _receive(
    portions: AsyncIterator[bytes], table: TableReader, recorder: RowRecorder, bodies: BodyReader
) -> TableSummary:
    progress = _Progress()
    waiting: deque[tuple[Sequence[Row], asyncio.Task[list[RowOutcome]]]] = deque()
    try:
        async for chunk in portions:
            found = await bodies.run(table.feed if chunk else _ended(table), chunk)
            for start in range(0, len(found), PORTION_ROWS):
                rows = found[start : start + PORTION_ROWS]
                read = await bodies.run(recorder.read, rows)
                waiting.append((rows, asyncio.create_task(recorder.write(read))))
                if len(waiting) >= PORTIONS:
                    await _next(waiting, progress)
        while waiting:
            await _next(waiting, progress)
    finally:
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
    return progress.summary()


async def _portions(request: Request, hold: Hold) -> AsyncIterator[bytes]:
    """The body in larger pieces than it arrives in, then b"" for its end."""
    held = bytearray()
    async for chunk in read_chunks(request, hold, limit_bytes=TABLE_LIMIT_BYTES):
        held += chunk
        if len(held) >= PORTION_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
    yield b""


def _ended(table: TableReader) -> Callable[[bytes], list[Row]]:
    return lambda _: table.end()


async def _next(
    waiting: deque[tuple[Sequence[Row], asyncio.Task[list[RowOutcome]]]], progress: _Progress
) -> None:
    rows, task = waiting.popleft()
    progress.add(rows, await task)
    progress.check()
