"""The page on which people label answers, blind and by keyboard."""

import asyncio
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from anyio import to_thread
from msgspec import Struct
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitoring.api.viewer import read_actor, read_viewer
from monitoring.api.whole_number import read_whole_number
from monitoring.errors import FeedbackInvalid, QueryInvalid, brief
from monitoring.feedback.body import read_uuid
from monitoring.feedback.items import FeedbackItem, FeedbackResult
from monitoring.ledger.database import Ledger
from monitoring.ledger.pictures import read_picture
from monitoring.ledger.versions import WatchedVersion, choose
from monitoring.ledger.waiting import (
    WaitingAnswer,
    count_waiting,
    find_answer,
    next_waiting,
    revisions,
    what_was_answered,
)
from monitoring.pages.formatting import label_path
from monitoring.pages.label_page import Asked, Given, label_page
from monitoring.pages.rendering import answer_page
from monitoring.recording.recorder import Recorder
from monitoring.routes.form import form_reader
from monitoring.routes.reports import Production
from monitoring.routes.request import BodyReader, read_version

SOURCE: Final = "console"
_SKIP_LIMIT: Final = 100_000


class LabelForm(Struct, frozen=True):
    """A label, the answer that it is for, and where in the queue the reader is."""

    label: str
    prediction_id: str
    version: str | None = None
    skip: str | None = None


_FORM = form_reader(LabelForm)


class LabelPageRoutes:
    """The handlers of the page."""

    def __init__(
        self, ledger: Ledger, recorder: Recorder, production: Production, bodies: BodyReader
    ) -> None:
        self._ledger, self._recorder, self._production, self._bodies = (
            ledger,
            recorder,
            production,
            bodies,
        )

    async def page(self, request: Request) -> Response:
        """The next answer that waits, or the one that is asked for."""
        return answer_page(await to_thread.run_sync(self._read, request))

    async def label(self, request: Request) -> Response:
        """Record a label, then show what the model had said, and the next answer."""
        async with self._bodies.parsed(request, _FORM) as fields:
            item = FeedbackItem(
                fields.get("label", ""),
                read_uuid("prediction_id", fields.get("prediction_id", "")),
                source=f"{SOURCE}: {read_actor(request)}",
            )
        [result] = await asyncio.wrap_future(self._recorder.feedback([item]))
        _require_recorded(result)
        done = {"done": str(UUID(bytes=item.prediction_id)), "status": result.status.value}
        kept = {name: fields[name] for name in ("version", "skip") if name in fields}
        where = f"{label_path(request.path_params['model'])}?{urlencode(kept | done)}"
        return RedirectResponse(where, status_code=303)

    def _read(self, request: Request) -> str:
        query, model = request.query_params, request.path_params["model"]
        skip, asked_id = _skip(query.get("skip")), query.get("answer")
        with self._ledger.read() as connection:
            version = read_version(request)
            row = choose(connection, model, self._production(model) if version is None else version)
            if asked_id is None:
                found = next_waiting(connection, row, skip=skip)
            else:
                found = find_answer(connection, row, _uuid("answer", asked_id))
                if found is None:
                    raise QueryInvalid(
                        f"Version {row.version} of {model} has no answer {brief(asked_id)}."
                    )
            asked = None if found is None else _asked(connection, found)
            return label_page(
                model=model,
                version=row.version,
                classes=row.classes,
                counts=count_waiting(connection, row),
                asked=asked,
                given=self._given(connection, row, query.get("done"), query.get("status", "")),
                skip=skip,
                viewer=read_viewer(request),
            )

    @staticmethod
    def _given(
        connection: Connection, row: WatchedVersion, done: str | None, status: str
    ) -> Given | None:
        """The label that was given last, only if the ledger has one: the answer stays hidden
        before.
        """
        if done is None:
            return None
        prediction_id = _uuid("done", done)
        answered, labels = (
            what_was_answered(connection, prediction_id),
            revisions(connection, prediction_id),
        )
        if answered is None or not labels or find_answer(connection, row, prediction_id) is None:
            return None
        predicted, confidence = answered
        return Given(
            done, status, row.classes[labels[-1].label], row.classes[predicted], confidence
        )


def _asked(connection: Connection, found: WaitingAnswer) -> Asked:
    shown = read_picture(connection, found.prediction_id)
    return Asked(found, revisions(connection, found.prediction_id), shown)


def _require_recorded(result: FeedbackResult) -> None:
    """Raise what POST /feedback would answer if nothing was recorded."""
    if result.reason is not None:
        raise FeedbackInvalid(
            result.detail or "The ledger no longer has this answer, so its label was not recorded."
        )


def _uuid(name: str, value: str) -> bytes:
    try:
        return read_uuid(name, value)
    except FeedbackInvalid as error:
        raise QueryInvalid(str(error)) from None


def _skip(text: str | None) -> int:
    """The number of answers passed over. Raises QueryInvalid."""
    if text is None:
        return 0
    return read_whole_number(
        text, "The query's 'skip'", refusal=QueryInvalid, least=0, most=_SKIP_LIMIT
    )
