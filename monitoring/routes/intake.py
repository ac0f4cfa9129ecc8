"""What labels and logged predictions share on their way in: one, a list, or a table of any length.

An entry of the body becomes an item, or a result that rejects it. Items are recorded, and every
entry gets its result in its place.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from starlette.requests import Request

from monitoring.errors import ItemsRejected, MonitoringError
from monitoring.feedback.body import LIST_LIMIT
from monitoring.http.json_body import JsonReader
from monitoring.routes.request import BodyReader, media_type
from monitoring.routes.table_upload import REJECTED, RowOutcome, TableSummary, receive_table
from monitoring.routes.tables import Row, table_readers

UNRECORDED: Final = {
    "unknown": "The ledger has no such prediction.",
    "expired": "The prediction is older than the ledger keeps.",
}


class Result(Protocol):
    """What became of an entry; `cause` is the class of the error for which it was rejected."""

    @property
    def status(self) -> str: ...
    @property
    def detail(self) -> str | None: ...
    @property
    def cause(self) -> type[MonitoringError] | None: ...


_Item = TypeVar("_Item")
_Result = TypeVar("_Result", bound=Result)
_Sent = TypeVar("_Sent")


@dataclass(frozen=True)
class Intake(Generic[_Item, _Result, _Sent]):
    """Takes one kind of item.

    Attributes:
        entries: reads entries of a body.
        kind: the type of an item.
        to_item: makes an item of an entry. Raises MonitoringError.
        reject: the result of an entry that cannot be read, with a sentence that says why.
        record: records items; one result per item.
        as_sent: the result as it is answered.
        count_invalid: told how many entries could not be read.
        instead_of: a table without one of these columns may name others, those of findings.
    """

    entries: JsonReader[Any]
    kind: type[_Item]
    to_item: Callable[[Any], _Item]
    reject: Callable[[str], _Result]
    record: Callable[[Sequence[_Item]], Awaitable[list[_Result]]]
    as_sent: Callable[[_Result], _Sent]
    count_invalid: Callable[[int], None] = lambda _count: None
    instead_of: Collection[str] = ()

    async def receive(
        self, request: Request, bodies: BodyReader
    ) -> _Sent | list[_Sent] | TableSummary:
        """One item gets one result, a list a list of them, a table (NDJSON, CSV) a summary.

        Raises ItemsRejected if every item of one or a list was rejected.
        """
        table = table_readers(self.entries, instead_of=self.instead_of).get(media_type(request))
        if table is not None:
            return await receive_table(request, table(), self, bodies=bodies)
        async with bodies.parsed(request, self._read_body) as (read, single):
            results = await self._results(read)
        sent = [self.as_sent(result) for result in results]
        if results[0].cause and all(result.status == REJECTED for result in results):
            shown = None if single else msgspec.to_builtins(sent)
            raise ItemsRejected(results[0].cause, results[0].detail or "", results=shown)
        return sent[0] if single else sent

    def read(self, rows: Sequence[Row]) -> list[_Item | _Result]:
        """The items of a table's rows."""
        return [self.reject(row.problem) if row.problem else self._read(row.item) for row in rows]

    async def write(self, read: Sequence[_Item | _Result]) -> list[RowOutcome]:
        """Record them."""
        return [
            RowOutcome(str(result.status), result.detail or UNRECORDED.get(result.status))
            for result in await self._results(read)
        ]

    def _read_body(self, body: bytes) -> tuple[list[_Item | _Result], bool]:
        try:
            entries = self.entries.read_entries(body, limit=LIST_LIMIT)
        except self.entries.refusal:
            self.count_invalid(1)
            raise
        return [self._read(entry) for entry in entries.items], entries.single

    def _read(self, entry: Any) -> _Item | _Result:
        try:
            return self.reject(str(entry)) if isinstance(entry, Exception) else self.to_item(entry)
        except MonitoringError as error:
            return self.reject(str(error))

    async def _results(self, read: Sequence[_Item | _Result]) -> list[_Result]:
        """Record the items, and keep the rejections in their places."""
        items = [entry for entry in read if isinstance(entry, self.kind)]
        self.count_invalid(len(read) - len(items))
        recorded = iter(await self.record(items))
        return [
            next(recorded) if isinstance(entry, self.kind) else entry  # type: ignore[misc]
            for entry in read
        ]
