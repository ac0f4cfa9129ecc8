"""Logged predictions: POST /models-log declares a model, POST /predictions-log takes answers."""

import asyncio
from collections.abc import Sequence

from starlette.requests import Request

from monitoring.errors import ModelServed
from monitoring.logged.body import PREDICTIONS, LoggedPrediction, LoggedPredictionResult, rejection
from monitoring.logged.declaration import DeclaredModel, read_declaration
from monitoring.logged.items import LoggedItem, LoggedResult
from monitoring.recording.recorder import Recorder
from monitoring.routes.intake import Intake
from monitoring.routes.reports import Production
from monitoring.routes.request import BodyReader
from monitoring.routes.table_upload import TableSummary


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
        defaults = dict(request.query_params)

        def to_item(entry: LoggedPrediction) -> LoggedItem:
            return entry.item(defaults)

        intake = Intake(
            PREDICTIONS,
            LoggedItem,
            to_item=to_item,
            reject=rejection,
            record=self._record,
            as_sent=LoggedPredictionResult.of,
        )
        return await intake.receive(request, self._bodies)

    async def _record(self, items: Sequence[LoggedItem]) -> list[LoggedResult]:
        written = await asyncio.gather(*map(asyncio.wrap_future, self._recorder.log(items)))
        return [result for _, results in written for result in results]
