"""Answers that wait for a label: GET /models/{model}/report/waiting."""

import json
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from anyio import to_thread
from msgspec import Struct
from starlette.requests import Request

from monitoring.http.fields import Uuid
from monitoring.http.query import read_query
from monitoring.ledger.database import Ledger
from monitoring.ledger.versions import choose
from monitoring.ledger.waiting import WaitingCounts, count_waiting, find_waiting
from monitoring.routes.queries import WaitingQuery
from monitoring.routes.reports import Production

AT_ONCE: Final = 100


class Waiting(Struct, frozen=True):
    """An answer without a label, and without what it says, which a reader should not see first."""

    prediction_id: Uuid
    request_id: str | None
    served_at: str
    tags: dict[str, str]
    drawn: bool


class WaitingAnswers(Struct, frozen=True):
    """How many answers of a version wait for a label, and the first of them in their order."""

    model: str
    version: int
    counts: WaitingCounts
    answers: list[Waiting]


class WaitingRoutes:
    """The handler. `production`: the version that a request without one is about."""

    def __init__(self, ledger: Ledger, production: Production) -> None:
        self._ledger, self._production = ledger, production

    async def get(self, request: Request) -> WaitingAnswers:
        return await to_thread.run_sync(self._read, request)

    def _read(self, request: Request) -> WaitingAnswers:
        model, asked = request.path_params["model"], read_query(request.query_params, WaitingQuery)
        version = asked.version or self._production(model)
        with self._ledger.read() as connection:
            row = choose(connection, model, version, asked.finding)
            found = find_waiting(connection, row, queue=asked.queue, skip=asked.skip, limit=AT_ONCE)
            counts = count_waiting(connection, row)
        answers = [
            Waiting(
                str(UUID(bytes=each.prediction_id)),
                each.request_id,
                datetime.fromtimestamp(each.served_at_ns / 1e9, tz=UTC).isoformat(),
                json.loads(each.tags) if each.tags else {},
                each.drawn,
            )
            for each in found
        ]
        return WaitingAnswers(row.model, row.version, counts, answers)
