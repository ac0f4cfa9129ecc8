"""Logged predictions: POST /models-log declares a model, POST /predictions-log takes its
answers.
"""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
from starlette.requests import Request

from monitoring.errors import (
    ItemsRejected,
    LabelUnknown,
    ModelNotInLedger,
    ModelServed,
    MonitoringError,
    PredictionDiffers,
    PredictionInvalid,
)
from monitoring.logged.body import (
    PREDICTIONS,
    LoggedPredictionResult,
    item_or_rejection,
    read_entries,
    rejection,
)
from monitoring.logged.declaration import DeclaredModel, read_declaration
from monitoring.logged.prediction_log import Fault, LoggedItem, LoggedResult, LoggedStatus
from monitoring.recording.recorder import Recorder
from monitoring.routes.reports import Production
from monitoring.routes.request import BodyReader, media_type
from monitoring.routes.table_upload import RowOutcome, TableSummary, receive_table
from monitoring.routes.tables import Row, table_readers

_TABLES = table_readers(PREDICTIONS)
_CAUSES: dict[Fault, type[MonitoringError]] = {
    Fault.INVALID: PredictionInvalid,
    Fault.SERVED: ModelServed,
    Fault.UNKNOWN_LABEL: LabelUnknown,
    Fault.UNKNOWN_MODEL: ModelNotInLedger,
    Fault.DIFFERS: PredictionDiffers,
}


class LoggedPredictionRoutes:
    """The handlers of both routes. `served` is the version of a model with which this process
    answers images.
    """

    def __init__(
        self, recorder: Recorder, bodies: BodyReader, *, served: Production = lambda _model: None
    ) -> None:
        self._recorder, self._bodies, self._served = recorder, bodies, served

    async def declare(self, request: Request) -> DeclaredModel:
        """Register a model; the same declaration again changes nothing."""
        async with self._bodies.parsed(request, read_declaration) as card:
            if self._served(card.model) is not None:
                raise ModelServed(card.model)
            row = await asyncio.wrap_future(self._recorder.declare(card))
        return DeclaredModel(row.model, row.version, list(row.classes))

    async def post(
        self, request: Request
    ) -> LoggedPredictionResult | list[LoggedPredictionResult] | TableSummary:
        """One prediction gets one result, a list a list of them, a table (NDJSON, CSV) a
        summary.
        """
        log = _PredictionRecorder(self._recorder, dict(request.query_params))
        if (table := _TABLES.get(media_type(request))) is not None:
            return await receive_table(request, table(), log, bodies=self._bodies)
        async with self._bodies.parsed(request, log.read_body) as (read, single):
            return await self._answer(log, read, single=single)

    @staticmethod
    async def _answer(
        log: "_PredictionRecorder", read: Sequence[LoggedItem | LoggedResult], *, single: bool
    ) -> LoggedPredictionResult | list[LoggedPredictionResult]:
        recorded = await log.record(read)
        results, first = [LoggedPredictionResult.of(each) for each in recorded], recorded[0]
        if first.fault is not None and all(
            each.status is LoggedStatus.REJECTED for each in recorded
        ):
            shown = None if single else msgspec.to_builtins(results)
            raise ItemsRejected(_CAUSES[first.fault], first.detail or "", results=shown)
        return results[0] if single else results


class _PredictionRecorder:
    """Records the predictions of one request, whose query gives the `defaults`."""

    def __init__(self, recorder: Recorder, defaults: Mapping[str, str]) -> None:
        self._recorder, self._defaults = recorder, defaults

    def read_body(self, body: bytes) -> tuple[list[LoggedItem | LoggedResult], bool]:
        read = read_entries(body)
        return [item_or_rejection(entry, self._defaults) for entry in read.items], read.single

    def read(self, rows: Sequence[Row]) -> list[LoggedItem | LoggedResult]:
        return [
            rejection(row.problem) if row.problem else item_or_rejection(row.item, self._defaults)
            for row in rows
        ]

    async def write(self, read: Sequence[LoggedItem | LoggedResult]) -> list[RowOutcome]:
        return [
            RowOutcome(result.status.value, result.detail) for result in await self.record(read)
        ]

    async def record(self, read: Sequence[LoggedItem | LoggedResult]) -> list[LoggedResult]:
        """Record the valid ones, and keep the rejections of the others in their places."""
        futures = self._recorder.log([entry for entry in read if isinstance(entry, LoggedItem)])
        written = await asyncio.gather(*map(asyncio.wrap_future, futures))
        recorded = (result for _, results in written for result in results)
        return [next(recorded) if isinstance(entry, LoggedItem) else entry for entry in read]
