"""The page on which people label answers one at a time and blind.

Whoever sees an answer before judging leans towards it (Dratsch et al. 2023), and such labels would
make the model look better than it is.
"""

import asyncio
import base64
import json
from typing import Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from anyio import to_thread
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from calibration.wording import probability
from console.answer_links import ImageLinks
from console.endpoints import form, form_reader, page
from console.formatting import answers_path, label_path, moment
from console.meeting import back_to
from console.rendering import answer_page, render
from console.tabs import Tabs
from monitoring.errors import FeedbackInvalid, QueryInvalid
from monitoring.feedback.body import read_uuid
from monitoring.feedback.items import FeedbackItem, FeedbackResult, FeedbackStatus
from monitoring.http.endpoint import LOCAL, read_actor, read_viewer
from monitoring.http.query import read_query
from monitoring.ledger.database import Ledger
from monitoring.ledger.pictures import read_picture
from monitoring.ledger.predictions import finding_id
from monitoring.ledger.versions import choose_first
from monitoring.ledger.waiting import (
    Queue,
    Revision,
    WaitingAnswer,
    count_waiting,
    find_answer,
    find_waiting,
    revisions,
    what_was_answered,
)
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.recording.recorder import Recorder
from monitoring.routes.queries import WaitingQuery
from monitoring.routes.reports import Production
from monitoring.routes.request import BodyReader


class Asked(NamedTuple):
    """The answer that is to be labeled, and the labels that it has already."""

    answer: WaitingAnswer
    revisions: list[Revision]
    png: bytes | None = None  # what the model saw, if it is kept

    @property
    def prediction_id(self) -> str:
        return str(UUID(bytes=self.answer.prediction_id))

    @property
    def picture(self) -> str | None:
        return None if self.png is None else base64.b64encode(self.png).decode()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels, from its header."""
        png = self.png or b""
        return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")

    @property
    def tags(self) -> str:
        tags: dict[str, str] = json.loads(self.answer.tags) if self.answer.tags else {}
        return ", ".join(f"{key}={value}" for key, value in tags.items())


class Given(NamedTuple):
    """A label that was just given: what happened to it, what the model had said, and the label
    before it, which undoes a correction.
    """

    prediction_id: str
    status: str
    label: str
    answered: str
    confidence: float
    earlier: str | None

    @property
    def sentence(self) -> str:
        """What to know about the label, now that it is recorded."""
        if self.status == FeedbackStatus.SECOND_READING:
            return f"Your reading stands beside that of the first reader: “{self.label}”."
        done = {
            "corrected": f"Your label is corrected to “{self.label}”.",
            "unchanged": f"Your label is unchanged: “{self.label}”.",
        }.get(self.status, f"Your label is recorded: “{self.label}”.")
        said = "the same" if self.label == self.answered else f"“{self.answered}”"
        return f"{done} The model had said {said}, confidence {probability(self.confidence, 0)}."


SOURCE: Final = "console"
CHOSEN: Final = "console, doubtful"  # the labels of the queue of doubtful images


class LabelQuery(WaitingQuery, frozen=True, kw_only=True):
    """`answer`: to be labeled, in place of the queue's; `done`, `status`: of the label before;
    `back`: the cases from which a reader comes.
    """

    answer: UUID | None = None
    done: UUID | None = None
    status: str = ""
    back: str = ""


_KEPT = ("version", "finding", "skip", "queue", "back")  # where the reader is
_FORM = form_reader("label", "prediction_id", *_KEPT)


class LabelPageRoutes:
    def __init__(
        self,
        ledger: Ledger,
        recorder: Recorder,
        production: Production,
        bodies: BodyReader,
        links: ImageLinks,
        tabs: Tabs,
    ) -> None:
        self._ledger, self._recorder, self._links = ledger, recorder, links
        self._production, self._bodies, self._tabs = production, bodies, tabs

    async def page(self, request: Request) -> Response:
        return answer_page(await to_thread.run_sync(self._read, request))

    async def label(self, request: Request) -> Response:
        """Record a label, then show what the model had said, and the next answer."""
        async with self._bodies.parsed(request, _FORM) as fields:
            actor = read_actor(request)
            item = FeedbackItem(
                fields.get("label", ""),
                read_uuid("prediction_id", fields.get("prediction_id", "")),
                source=f"{CHOSEN if fields.get('queue') == 'doubtful' else SOURCE}: {actor}",
                reader=None if actor == LOCAL else actor,
                finding=fields.get("finding", ""),
            )
        [result] = await asyncio.wrap_future(self._recorder.feedback([item]))
        _require_recorded(result)
        case, status = str(UUID(bytes=item.prediction_id)), result.status.value
        model, kept = request.path_params["model"], {"done": case, "status": status}
        kept |= {name: fields[name] for name in _KEPT if name in fields}
        where = f"{label_path(model)}?{urlencode(kept)}"
        if "back" in fields:
            where = back_to(answers_path(model), fields["back"], case=case, done=status)
        return RedirectResponse(where, status_code=303)

    def _read(self, request: Request) -> str:
        model, query = request.path_params["model"], read_query(request.query_params, LabelQuery)
        skip, queue = query.skip, query.queue
        with self._ledger.read() as connection:
            version = query.version or self._production(model)
            row, findings = choose_first(connection, model, version, query.finding)
            if query.answer is None:
                answers = find_waiting(connection, row, queue=queue, skip=skip)
                answer = answers[0] if answers else None
            else:
                answer = find_answer(connection, row, query.answer.bytes)
                if answer is None:
                    raise QueryInvalid(
                        f"Version {row.version} of {model} has no answer {query.answer}."
                    )
            asked = None if answer is None else _asked(connection, row, answer)
            earlier = [] if asked is None else asked.revisions
            query_of, viewer = urlencode(_query_of(row, queue)), read_viewer(request)
            return render(
                "label.html",
                model=model,
                tabs=self._tabs.of(
                    model, viewer, "Label", query=urlencode(_query_of(row, "usual"))
                ),
                version=row.version,
                title=row.title,
                named=row.query,
                finding=row.finding,
                findings=findings,
                classes=row.labels,
                query=query_of,
                queue=queue,
                counts=count_waiting(connection, row),
                asked=asked,
                link=asked and self._links.to(asked.prediction_id, asked.answer.request_id),
                earlier=[
                    (row.classes[each.label], each.source, moment(each.received_at_ns))
                    for each in earlier
                ],
                given=query.done and given_label(connection, row, query.done.bytes, query.status),
                skip=skip,
                back=query.back,
            )


def given_label(
    connection: Connection, row: WatchedVersion, image_id: bytes, status: str
) -> Given | None:
    """The label that was given last, if the ledger has one; before, the answer stays hidden."""
    row_id = finding_id(image_id, row.finding)
    answered = what_was_answered(connection, row_id)
    labels = [row.classes[each.label] for each in revisions(connection, row_id)]
    if answered is None or not labels or find_answer(connection, row, image_id) is None:
        return None
    predicted, confidence = row.said(*answered)
    earlier = labels[-2] if status == FeedbackStatus.CORRECTED and len(labels) > 1 else None
    of_image, said = str(UUID(bytes=image_id)), row.classes[predicted]
    return Given(of_image, status, labels[-1], said, confidence, earlier)


def _query_of(row: WatchedVersion, queue: Queue) -> dict[str, str]:
    return row.query if queue == "usual" else row.query | {"queue": queue}


def _asked(connection: Connection, row: WatchedVersion, answer: WaitingAnswer) -> Asked:
    png = read_picture(connection, answer.prediction_id)
    row_id = finding_id(answer.prediction_id, row.finding)
    return Asked(answer, revisions(connection, row_id), png)


def _require_recorded(result: FeedbackResult) -> None:
    """Raise what POST /feedback would answer if nothing was recorded."""
    if result.reason is not None:
        raise FeedbackInvalid(
            result.detail or "The ledger no longer has this answer, so its label was not recorded."
        )


ENDPOINTS: Final = (
    page("/label/{model}", LabelPageRoutes.page, query=LabelQuery, scope="feedback"),
    form("/label/{model}", LabelPageRoutes.label, scope="feedback"),
)
