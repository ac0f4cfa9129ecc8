"""Labels in: POST /feedback."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from monitoring.errors import (
    FeedbackInvalid,
    ItemsRejected,
    LabelUnknown,
    ModelUnknown,
    MonitoringError,
    PendingFull,
)
from monitoring.feedback.body import FIELDS, item_or_rejection, read_items
from monitoring.feedback.items import FeedbackItem, FeedbackResult, FeedbackStatus, Reason
from monitoring.recording.recorder import Recorder
from monitoring.routes.intake import Outcome, take
from monitoring.routes.request import media_type, read_json_body
from monitoring.routes.tables import Row, tables

_TABLES = tables(FIELDS)
_UNRECORDED = {
    Reason.UNKNOWN_PREDICTION: "The ledger has no such prediction.",
    Reason.EXPIRED: "The prediction is older than the ledger keeps.",
}

_CAUSES: dict[Reason, type[MonitoringError]] = {
    Reason.INVALID: FeedbackInvalid,
    Reason.UNKNOWN_LABEL: LabelUnknown,
    Reason.UNKNOWN_MODEL: ModelUnknown,
    Reason.PENDING_FULL: PendingFull,
}


class FeedbackRoutes:
    """POST /feedback."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def post(self, request: Request) -> Response:
        """One label as an object, or a list of them; answered in kind. A table (NDJSON, CSV) gets a summary."""
        if (table := _TABLES.get(media_type(request))) is not None:
            return await take(request, table(), self)
        data = await read_json_body(request)
        try:
            read = await to_thread.run_sync(read_items, data)
        except FeedbackInvalid:
            self._recorder.reject(Reason.INVALID)
            raise
        results = await self._record(read)
        answers = [_answer(result) for result in results]
        first, alone = results[0], isinstance(data, dict)
        if first.reason is not None and all(result.status is FeedbackStatus.REJECTED for result in results):
            raise ItemsRejected(_CAUSES[first.reason], first.detail or "", results=None if alone else answers)
        return JSONResponse(answers[0] if alone else answers)

    def read(self, rows: Sequence[Row]) -> list[FeedbackItem | FeedbackResult]:
        """The items of a table's rows."""
        return [_rejection(row.problem) if row.problem else item_or_rejection(row.fields) for row in rows]

    async def write(self, read: Sequence[FeedbackItem | FeedbackResult]) -> list[Outcome]:
        """Record them."""
        return [_outcome(result) for result in await self._record(read)]

    async def _record(self, read: Sequence[FeedbackItem | FeedbackResult]) -> list[FeedbackResult]:
        """Record the valid ones, keep the others' rejections at their places."""
        items = [entry for entry in read if isinstance(entry, FeedbackItem)]
        if invalid := len(read) - len(items):
            self._recorder.reject(Reason.INVALID, invalid)
        results: list[FeedbackResult] = await asyncio.wrap_future(self._recorder.feedback(items))
        recorded = iter(results)
        return [next(recorded) if isinstance(entry, FeedbackItem) else entry for entry in read]


def _rejection(problem: str) -> FeedbackResult:
    return FeedbackResult(FeedbackStatus.REJECTED, reason=Reason.INVALID, detail=problem)


def _outcome(result: FeedbackResult) -> Outcome:
    if result.reason is None:
        return Outcome(result.status.value)
    return Outcome(result.status.value, result.detail or _UNRECORDED[result.reason])


def _answer(result: FeedbackResult) -> dict[str, Any]:
    named = {"prediction_id": str(UUID(bytes=result.prediction_id))} if result.prediction_id else {}
    return {"status": result.status.value} | named | ({"detail": result.detail} if result.detail else {})
