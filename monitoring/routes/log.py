"""Models that are served elsewhere: POST /models-log declares one, POST /predictions-log takes its answers."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from monitoring.errors import (
    ItemsRejected,
    LabelUnknown,
    ModelUnknown,
    MonitoringError,
    PredictionDiffers,
    PredictionInvalid,
)
from monitoring.external.body import FIELDS, item_or_rejection, read_entries, rejection
from monitoring.external.declaration import read_declaration
from monitoring.external.items import Fault, LoggedItem, LoggedResult, LoggedStatus
from monitoring.recording.recorder import Recorder
from monitoring.routes.intake import Outcome, take
from monitoring.routes.request import media_type, read_json_body
from monitoring.routes.tables import Row, tables

_TABLES = tables(FIELDS)
_DEFAULTS = frozenset({"model", "version"})
_CAUSES: dict[Fault, type[MonitoringError]] = {
    Fault.INVALID: PredictionInvalid,
    Fault.UNKNOWN_LABEL: LabelUnknown,
    Fault.UNKNOWN_MODEL: ModelUnknown,
    Fault.DIFFERS: PredictionDiffers,
}


class LogRoutes:
    """Both routes."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def declare(self, request: Request) -> Response:
        """Make a model known; the same again changes nothing."""
        card = await to_thread.run_sync(read_declaration, await read_json_body(request))
        row = await asyncio.wrap_future(self._recorder.declare(card))
        return JSONResponse({"model": row.model, "version": row.version, "classes": list(row.classes)})

    async def post(self, request: Request) -> Response:
        """Answers: one, a list (answered in kind), or a table (answered by a summary)."""
        intake = _Intake(self._recorder, _defaults(request))
        if (table := _TABLES.get(media_type(request))) is not None:
            return await take(request, table(), intake)
        data = await read_json_body(request)
        read = await to_thread.run_sync(intake.of_json, data)
        results = await intake.record(read)
        answers = [_answer(result) for result in results]
        first, alone = results[0], isinstance(data, dict)
        if first.fault is not None and all(result.status is LoggedStatus.REJECTED for result in results):
            raise ItemsRejected(_CAUSES[first.fault], first.detail or "", results=None if alone else answers)
        return JSONResponse(answers[0] if alone else answers)


class _Intake:
    """What is done with the rows of one request; `defaults` are what its query says."""

    def __init__(self, recorder: Recorder, defaults: Mapping[str, Any]) -> None:
        self._recorder, self._defaults = recorder, defaults

    def of_json(self, data: Any) -> list[LoggedItem | LoggedResult]:
        return [item_or_rejection(entry, self._defaults) for entry in read_entries(data)]

    def read(self, rows: Sequence[Row]) -> list[LoggedItem | LoggedResult]:
        return [
            rejection(row.problem) if row.problem else item_or_rejection(row.fields, self._defaults) for row in rows
        ]

    async def write(self, read: Sequence[LoggedItem | LoggedResult]) -> list[Outcome]:
        return [Outcome(result.status.value, result.detail) for result in await self.record(read)]

    async def record(self, read: Sequence[LoggedItem | LoggedResult]) -> list[LoggedResult]:
        """Record the valid ones, keep the others' rejections at their places."""
        futures = self._recorder.log([entry for entry in read if isinstance(entry, LoggedItem)])
        written = await asyncio.gather(*map(asyncio.wrap_future, futures))
        recorded = (result for _, results in written for result in results)
        return [next(recorded) if isinstance(entry, LoggedItem) else entry for entry in read]


def _defaults(request: Request) -> dict[str, str]:
    asked = dict(request.query_params)
    if asked.keys() - _DEFAULTS:
        raise PredictionInvalid("The query may say ?model=NAME&version=N, for items that do not say so.")
    return asked


def _answer(result: LoggedResult) -> dict[str, Any]:
    named = {"prediction_id": str(UUID(bytes=result.prediction_id))} if result.prediction_id else {}
    labeled = {"feedback": result.feedback.value} if result.feedback else {}
    return {"status": result.status.value} | named | labeled | ({"detail": result.detail} if result.detail else {})
