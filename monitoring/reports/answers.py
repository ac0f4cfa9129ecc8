"""The answers behind a figure of a report, each with its labels and where those are from."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct
from sqlalchemy import Connection, select

from monitoring.errors import QueryInvalid, brief
from monitoring.feedback.answers import SaidLabel, read_said
from monitoring.http.fields import Moment, Uuid
from monitoring.ledger.answer_search import (
    AnswerSearch,
    FoundAnswer,
    alternatives,
    is_wrong,
    search,
)
from monitoring.ledger.predictions import finding_id
from monitoring.ledger.schema import picture
from monitoring.ledger.watched_version import UNCERTAIN, UNCERTAIN_LABEL, CountsAs, WatchedVersion


class GivenLabel(Struct, frozen=True):
    """A label, and whether it counts: truth, second_reading, proxy, ignored or uncertain."""

    label: str
    counts_as: str
    source: str | None
    reader: str | None
    received_at: Moment


class ListedAnswer(Struct, frozen=True):
    """An answer in a list; what is not known is null."""

    prediction_id: Uuid
    request_id: str | None
    served_at: Moment
    tags: dict[str, str]
    predicted: Annotated[str, Meta(description="of a finding, what its threshold decides")]
    confidence: Annotated[float, Meta(description="of a finding, that it is present")]
    label: Annotated[str | None, Meta(description="the latest that counts as truth")]
    right: Annotated[bool | None, Meta(description="whether that label agrees")]
    labels: Annotated[list[GivenLabel], Meta(description="all, oldest first")]
    audited: bool
    scope_p: float | None
    has_picture: bool


class AnswerList(Struct, frozen=True):
    """Answers of a version, newest first, one page of them; `before`: a prediction id, to ask for
    the answers that follow, None if there are none.
    """

    model: str
    version: int
    finding: str | None
    before: Uuid | None
    answers: list[ListedAnswer]


def list_answers(
    connection: Connection,
    row: WatchedVersion,
    wanted: AnswerSearch,
    *,
    before: bytes | None = None,
    limit: int,
) -> AnswerList:
    """Return one page. `before`: the id of an image. Raises QueryInvalid for an unknown class."""
    predicted = [] if wanted.predicted is None else alternatives(row.class_index, wanted.predicted)
    for name in (*predicted, wanted.label):
        if name is not None and name not in row.class_index:
            known = ", ".join(row.classes)
            raise QueryInvalid(f"The model has no class {brief(name)}; it has {brief(known)}.")
    page = search(
        connection,
        row,
        wanted,
        before=before and finding_id(before, row.finding),
        limit=limit,
    )
    said = read_said(connection, (each.prediction_id for each in page.answers))
    kept = _with_picture(connection, (_image(row, each.prediction_id) for each in page.answers))
    return AnswerList(
        row.model,
        row.version,
        row.named,
        None if page.before is None else _image(row, page.before),
        [_listed(row, each, said[each.prediction_id], kept) for each in page.answers],
    )


def _image(row: WatchedVersion, prediction_id: bytes) -> str:
    """The id of the image, as clients know it."""
    return str(UUID(bytes=finding_id(prediction_id, row.finding)))


def _with_picture(connection: Connection, images: Iterable[str]) -> set[str]:
    key = picture.c.prediction_id
    kept = connection.scalars(select(key).where(key.in_([UUID(each).bytes for each in images])))
    return {str(UUID(bytes=each)) for each in kept}


def _listed(
    row: WatchedVersion, found: FoundAnswer, said: Iterable[SaidLabel], kept: set[str]
) -> ListedAnswer:
    image, wrong = _image(row, found.prediction_id), is_wrong(row, found)
    return ListedAnswer(
        image,
        found.request_id,
        _moment(found.served_at_ns),
        json.loads(found.tags) if found.tags else {},
        row.classes[row.said(found.predicted, found.confidence)[0]],
        found.confidence,
        None if found.label is None else row.classes[found.label],
        None if wrong is None else not wrong,
        [_given(row, each) for each in said],
        audited=found.audit is not None,
        scope_p=found.scope_p,
        has_picture=image in kept,
    )


def _given(row: WatchedVersion, said: SaidLabel) -> GivenLabel:
    label = UNCERTAIN if said.label == UNCERTAIN_LABEL else row.classes[said.label]
    counts_as = CountsAs(said.counts_as).name.lower()
    return GivenLabel(label, counts_as, said.source, said.reader, _moment(said.received_at_ns))


def _moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="seconds")
