"""What labels and logged predictions share on their way in: one, a list, or a table of any length.

An entry of the body becomes an item, or a result that rejects it. Items are recorded, and every
entry gets its result in its place.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from starlette.requests import Request

from monitoring.errors import ItemsRejected, ModelServed, MonitoringError
from monitoring.feedback.body import LABELS, LIST_LIMIT, OF_LABELS, Label, LabelResult, rejection
from monitoring.feedback.items import FeedbackItem, FeedbackResult, Reason
from monitoring.http.json_body import JsonReader
from monitoring.http.query import read_query
from monitoring.logged.body import PREDICTIONS, LoggedPrediction, LoggedPredictionResult
from monitoring.logged.body import rejection as rejected_prediction
from monitoring.logged.declaration import DeclaredModel, read_declaration
from monitoring.logged.items import LoggedItem, LoggedResult
from monitoring.recording.recorder import Recorder
from monitoring.routes.queries import LoggedQuery
from monitoring.routes.reports import Production
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


class Read(NamedTuple, Generic[_Item, _Result]):
    """An entry that was read: an item, or the result of one that cannot be recorded."""

    item: _Item | None = None
    rejected: _Result | None = None


@dataclass(frozen=True)
class Intake(Generic[_Item, _Result, _Sent]):
    """Takes one kind of item.

    Attributes:
        entries: reads entries of a body.
        to_item: makes an item of an entry. Raises MonitoringError.
        reject: the result of an entry that cannot be read, with a sentence that says why.
        record: records items; one result per item.
        as_sent: the result as it is answered.
        count_invalid: told how many entries could not be read.
        instead_of: a table without one of these columns may name others, those of findings.
    """

    entries: JsonReader[Any]
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

    def read(self, rows: Sequence[Row]) -> list[Read[_Item, _Result]]:
        return [
            Read(rejected=self.reject(row.problem)) if row.problem else self._read(row.item)
            for row in rows
        ]

    async def write(self, read: Sequence[Read[_Item, _Result]]) -> list[RowOutcome]:
        return [
            RowOutcome(str(result.status), result.detail or UNRECORDED.get(result.status))
            for result in await self._results(read)
        ]

    def _read_body(self, body: bytes) -> tuple[list[Read[_Item, _Result]], bool]:
        try:
            entries = self.entries.read_entries(body, limit=LIST_LIMIT)
        except self.entries.refusal:
            self.count_invalid(1)
            raise
        return [self._read(entry) for entry in entries.items], entries.single

    def _read(self, entry: Any) -> Read[_Item, _Result]:
        try:
            if not isinstance(entry, Exception):
                return Read(self.to_item(entry))
            return Read(rejected=self.reject(str(entry)))
        except MonitoringError as error:
            return Read(rejected=self.reject(str(error)))

    async def _results(self, read: Sequence[Read[_Item, _Result]]) -> list[_Result]:
        """Record the items, and keep the rejections in their places."""
        items = [entry.item for entry in read if entry.item is not None]
        self.count_invalid(len(read) - len(items))
        recorded = iter(await self.record(items))
        return [entry.rejected or next(recorded) for entry in read]


class FeedbackRoutes:
    def __init__(self, recorder: Recorder, bodies: BodyReader) -> None:
        self._recorder, self._bodies = recorder, bodies
        self._intake = Intake(
            LABELS,
            to_item=Label.item,
            reject=rejection,
            record=self._record,
            as_sent=LabelResult.of,
            count_invalid=lambda count: recorder.reject(Reason.INVALID, count),
            instead_of=OF_LABELS,
        )

    async def post(self, request: Request) -> LabelResult | list[LabelResult] | TableSummary:
        """One label gets one result, a list a list of them, a table (NDJSON, CSV) a summary."""
        return await self._intake.receive(request, self._bodies)

    async def _record(self, items: Sequence[FeedbackItem]) -> list[FeedbackResult]:
        return await asyncio.wrap_future(self._recorder.feedback(items))


class LoggedPredictionRoutes:
    """Both handlers. `served`: the version of a model with which this process answers."""

    def __init__(
        self, recorder: Recorder, bodies: BodyReader, *, served: Production = lambda _model: None
    ) -> None:
        self._recorder, self._bodies, self._served = recorder, bodies, served

    async def declare(self, request: Request) -> DeclaredModel:
        """Register a model; the same declaration again changes nothing."""
        async with self._bodies.parsed(request, read_declaration) as card:
            if self._served(card.model) is not None:
                raise ModelServed(card.model)
            rows = await asyncio.wrap_future(self._recorder.declare(card))
        names = [name for row in rows for name in row.declared]
        return DeclaredModel(rows[0].model, rows[0].version, names)

    async def post(
        self, request: Request
    ) -> LoggedPredictionResult | list[LoggedPredictionResult] | TableSummary:
        """One prediction gets one result, a list a list of them, a table a summary."""
        asked = read_query(request.query_params, LoggedQuery)

        def to_item(entry: LoggedPrediction) -> LoggedItem:
            return entry.item(asked.model, asked.version)

        intake = Intake(
            PREDICTIONS,
            to_item=to_item,
            reject=rejected_prediction,
            record=self._record,
            as_sent=LoggedPredictionResult.of,
        )
        return await intake.receive(request, self._bodies)

    async def _record(self, items: Sequence[LoggedItem]) -> list[LoggedResult]:
        written = await asyncio.gather(*map(asyncio.wrap_future, self._recorder.log(items)))
        return [result for _, results in written for result in results]
