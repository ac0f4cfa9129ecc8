"""Labels in: POST /feedback."""

import asyncio
from collections.abc import Sequence

from starlette.requests import Request

from monitoring.feedback.body import LABELS, OF_LABELS, Label, LabelResult, rejection
from monitoring.feedback.items import FeedbackItem, FeedbackResult, Reason
from monitoring.recording.recorder import Recorder
from monitoring.routes.intake import Intake
from monitoring.routes.request import BodyReader
from monitoring.routes.table_upload import TableSummary


class FeedbackRoutes:
    """The handler of POST /feedback."""

    def __init__(self, recorder: Recorder, bodies: BodyReader) -> None:
        self._recorder, self._bodies = recorder, bodies
        self._intake = Intake(
            LABELS,
            FeedbackItem,
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
