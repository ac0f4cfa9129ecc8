"""Labels in: POST /feedback."""

import asyncio
from collections.abc import Sequence

import msgspec
from starlette.requests import Request

from monitoring.errors import (
    FeedbackInvalid,
    ItemsRejected,
    LabelUnknown,
    ModelNotInLedger,
    MonitoringError,
    PendingFull,
)
from monitoring.feedback.body import LABELS, LabelResult, item_or_rejection, read_items, rejection
from monitoring.feedback.items import FeedbackItem, FeedbackResult, FeedbackStatus, Reason
from monitoring.recording.recorder import Recorder
from monitoring.routes.request import BodyReader, media_type
from monitoring.routes.table_upload import RowOutcome, TableSummary, receive_table
from monitoring.routes.tables import Row, table_readers

_TABLES = table_readers(LABELS)
_UNRECORDED = {
    Reason.UNKNOWN_PREDICTION: "The ledger has no such prediction.",
    Reason.EXPIRED: "The prediction is older than the ledger keeps.",
}
_CAUSES: dict[Reason, type[MonitoringError]] = {
    Reason.INVALID: FeedbackInvalid,
    Reason.UNKNOWN_LABEL: LabelUnknown,
    Reason.UNKNOWN_MODEL: ModelNotInLedger,
    Reason.PENDING_FULL: PendingFull,
}


class FeedbackRoutes:
    """The handler of POST /feedback, which also records the rows of a table."""

    def __init__(self, recorder: Recorder, bodies: BodyReader) -> None:
        self._recorder, self._bodies = recorder, bodies

    async def post(self, request: Request) -> LabelResult | list[LabelResult] | TableSummary:
        """One label gets one result, a list a list of them, a table (NDJSON, CSV) a summary."""
        if (table := _TABLES.get(media_type(request))) is not None:
            return await receive_table(request, table(), self, bodies=self._bodies)
        async with self._bodies.parsed(request, self._read_items) as (read, single):
            return await self._answer(read, single=single)

    def _read_items(self, body: bytes) -> tuple[Sequence[FeedbackItem | FeedbackResult], bool]:
        try:
            return read_items(body)
        except FeedbackInvalid:
            self._recorder.reject(Reason.INVALID)
            raise

    async def _answer(
        self, read: Sequence[FeedbackItem | FeedbackResult], *, single: bool
    ) -> LabelResult | list[LabelResult]:
        recorded = await self._record(read)
        results, first = [LabelResult.of(each) for each in recorded], recorded[0]
        if first.reason is not None and all(
            each.status is FeedbackStatus.REJECTED for each in recorded
        ):
            shown = None if single else msgspec.to_builtins(results)
            raise ItemsRejected(_CAUSES[first.reason], first.detail or "", results=shown)
        return results[0] if single else results

    def read(self, rows: Sequence[Row]) -> list[FeedbackItem | FeedbackResult]:
        """The items of a table's rows."""
        return [
            rejection(row.problem) if row.problem else item_or_rejection(row.item) for row in rows
        ]

    async def write(self, read: Sequence[FeedbackItem | FeedbackResult]) -> list[RowOutcome]:
        """Record them."""
        return [_outcome(result) for result in await self._record(read)]

    async def _record(self, read: Sequence[FeedbackItem | FeedbackResult]) -> list[FeedbackResult]:
        """Record the valid ones, and keep the rejections of the others in their places."""
        items = [entry for entry in read if isinstance(entry, FeedbackItem)]
        if invalid := len(read) - len(items):
            self._recorder.reject(Reason.INVALID, invalid)
        results: list[FeedbackResult] = await asyncio.wrap_future(self._recorder.feedback(items))
        recorded = iter(results)
        return [next(recorded) if isinstance(entry, FeedbackItem) else entry for entry in read]


def _outcome(result: FeedbackResult) -> RowOutcome:
    if result.reason is None:
        return RowOutcome(result.status.value)
    return RowOutcome(result.status.value, result.detail or _UNRECORDED[result.reason])
