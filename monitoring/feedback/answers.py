"""Which answer a label means: look-up by id, with the label that it already has, and labels that
arrived before their answers; all labels of an answer, and what each counts as.

A label of a truth source becomes the answer's current label, with one exception: an answer keeps
the truth of one reader. The label of another named reader is a second reading, because whoever
disagrees with a reader has not corrected them. A label without a reader corrects whatever was
there, as an adjudication does. A label that leaves a finding uncertain is never the truth.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, delete, func, select, update

from monitoring.feedback.items import FeedbackItem
from monitoring.ledger.database import in_lists, replacing, updating
from monitoring.ledger.predictions import PredictionRow, finding_id
from monitoring.ledger.schema import (
    feedback,
    feedback_pending,
    prediction,
    watched_versions,
)
from monitoring.ledger.watched_version import UNCERTAIN_LABEL, CountsAs, WatchedVersion
from monitoring.sources import LabelPolicy, SourcePolicies


class ServedAnswer(NamedTuple):
    """A served answer and its current label in the ledger; `label` is None until there is one."""

    prediction_id: bytes
    watched_version_id: int
    predicted: int
    confidence: float
    served_at_ns: int
    tags: str | None
    audit: float | None
    patient: int | None
    scope_p: float | None
    label: int | None
    first_feedback_id: int | None
    revision: int | None


_ANSWER = prediction.c.prediction_id
_ANSWERS = select(*(prediction.c[name] for name in ServedAnswer._fields))
_LABEL = ("label", "first_feedback_id", "revision", "patient")
_KEEP_LABELS = updating(prediction, _LABEL)
_as_kept = attrgetter(*_LABEL, "prediction_id")


def find(connection: Connection, prediction_ids: Iterable[bytes]) -> dict[bytes, ServedAnswer]:
    """The answers with these ids. Ids that are not in the ledger are left out."""
    answers: dict[bytes, ServedAnswer] = {}
    for portion in in_lists(list(dict.fromkeys(prediction_ids))):
        rows = connection.execute(_ANSWERS.where(_ANSWER.in_(portion))).all()
        answers |= {each.prediction_id: each for each in map(ServedAnswer._make, rows)}
    return answers


class RequestKey(NamedTuple):
    """What names an answer by the caller's own id of the image."""

    model: str
    request_id: str
    finding: str

    @classmethod
    def of(cls, item: FeedbackItem) -> "RequestKey":
        """Return the key of an item."""
        return cls(item.model or "", item.request_id or "", item.finding)


def latest_of_requests(
    connection: Connection, items: Iterable[FeedbackItem]
) -> dict[RequestKey, bytes]:
    """The id of each model's latest answer to each request id, for the items that name one."""
    named = {(item.model, item.request_id) for item in items if item.model and item.request_id}
    latest: dict[RequestKey, bytes] = {}
    columns = watched_versions.c
    for model, request_ids in _by_model(named).items():
        of_model = select(columns.watched_version_id, columns.finding).filter_by(model=model)
        findings = dict(connection.execute(of_model).all())
        answer = prediction.c
        for portion in in_lists(request_ids):
            answers = select(answer.request_id, answer.watched_version_id, _ANSWER).where(
                answer.request_id.in_(portion), answer.watched_version_id.in_(findings)
            )
            for request_id, number, key in connection.execute(answers.order_by(_ANSWER)):
                # later ones overwrite earlier ones
                latest[RequestKey(model, request_id, findings[number])] = key
    return latest


def row_id(item: FeedbackItem, latest: Mapping[RequestKey, bytes]) -> bytes | None:
    """The id of the answer that an item means, if it is known: of the finding in the image."""
    if item.prediction_id:
        return finding_id(item.prediction_id, item.finding)
    return latest.get(RequestKey.of(item))


_pending = feedback_pending.columns
_HOLD_PENDING = replacing(feedback_pending)


def count_pending(connection: Connection) -> dict[str, int]:
    """The number of waiting labels by model."""
    wanted = select(_pending.model, func.count()).group_by(_pending.model)
    return dict(connection.execute(wanted).all())


def is_pending(connection: Connection, item: FeedbackItem) -> bool:
    """Whether a label of this source and reader is already waiting for the request id."""
    same = zip(feedback_pending.primary_key, _pending_key(item), strict=True)
    wanted = select(1).where(*(column == value for column, value in same))
    return connection.scalar(wanted) is not None


def hold_pending(connection: Connection, item: FeedbackItem, *, now_ns: int) -> None:
    """Keep a label until its answer arrives; a later one of its source and reader replaces it."""
    row = (*_pending_key(item), item.label, item.observed_at_ns, now_ns, item.patient)
    _HOLD_PENDING.run(connection, [row])


def _pending_key(item: FeedbackItem) -> tuple[str | None, ...]:
    return item.model, item.request_id, item.source or "", item.reader or "", item.finding


def release_pending(
    connection: Connection, rows: Sequence[PredictionRow], versions: dict[int, WatchedVersion]
) -> list[FeedbackItem]:
    """Remove and return the labels that waited for these predictions, which they name now."""
    arrived = {
        RequestKey(version.model, row.request_id, version.finding): row.prediction_id
        for row in rows
        if row.request_id is not None and (version := versions[row.watched_version_id])
    }
    if not arrived or connection.scalar(select(_pending.model).limit(1)) is None:
        return []
    released: list[Any] = []
    by_finding: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in arrived:
        by_finding[key.model, key.finding].append(key.request_id)
    for (model, finding), request_ids in by_finding.items():
        for portion in in_lists(request_ids):
            held = (_pending.model == model) & _pending.request_id.in_(portion)
            mine = held & (_pending.finding == finding)
            gone = delete(feedback_pending).where(mine).returning(*_pending)
            released += connection.execute(gone).all()
    return [
        FeedbackItem(
            row.label,
            finding_id(arrived[RequestKey(row.model, row.request_id, row.finding)], row.finding),
            source=row.source or None,
            observed_at_ns=row.observed_at_ns,
            reader=row.reader or None,
            finding=row.finding,
            patient=row.patient,
        )
        for row in sorted(released, key=lambda row: (row.received_at_ns, row.request_id))
    ]


def keep_labels(connection: Connection, answers: Iterable[ServedAnswer]) -> None:
    """Write the labels of answers, and their patients, whom a label may name."""
    _KEEP_LABELS.run(connection, list(map(_as_kept, answers)))


def _by_model(named: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    by_model: dict[str, list[str]] = defaultdict(list)
    for model, request_id in named:
        by_model[model].append(request_id)
    return by_model


class SaidLabel(NamedTuple):
    """A row of `feedback`. `label`: a class index, or UNCERTAIN_LABEL; None: not named."""

    feedback_id: int
    prediction_id: bytes
    watched_version_id: int
    label: int
    correct: int
    counts_as: int
    source: str | None
    reader: str | None
    observed_at_ns: int | None
    received_at_ns: int


def read_said(
    connection: Connection, prediction_ids: Iterable[bytes]
) -> dict[bytes, list[SaidLabel]]:
    """Return the labels of each of these answers, oldest first; an empty list if it has none."""
    said: dict[bytes, list[SaidLabel]] = defaultdict(list)
    for portion in in_lists(list(dict.fromkeys(prediction_ids))):
        said.update((prediction_id, []) for prediction_id in portion)
        of_answers = select(feedback).where(feedback.c.prediction_id.in_(portion))
        for row in connection.execute(of_answers.order_by(feedback.c.feedback_id)).all():
            label = SaidLabel._make(row)
            said[label.prediction_id].append(label)
    return dict(said)


def counts_as(
    policies: SourcePolicies,
    label: int,
    source: str | None,
    reader: str | None,
    said: Sequence[SaidLabel],
) -> CountsAs:
    """Return what a label counts as after those that were `said` of the answer."""
    if label == UNCERTAIN_LABEL:
        return CountsAs.UNCERTAIN
    policy = policies.of(source)
    if policy is not LabelPolicy.TRUTH:
        return CountsAs.PROXY if policy is LabelPolicy.PROXY else CountsAs.IGNORED
    if reader is None:
        return CountsAs.TRUTH
    owners = [row.reader for row in said if row.counts_as == CountsAs.TRUTH]
    return CountsAs.SECOND_READING if owners and reader != owners[0] else CountsAs.TRUTH


def count_again(connection: Connection, watched_version_id: int, policies: SourcePolicies) -> int:
    """Count all labels of a version by these policies, as `counts_as` does; return how many count
    as something else now.
    """
    label = feedback.c
    of_policy = {
        policy: label.source.in_([name for name, its in policies.named.items() if its is policy])
        for policy in LabelPolicy
    }
    aside = case(
        (label.label == UNCERTAIN_LABEL, int(CountsAs.UNCERTAIN)),
        (of_policy[LabelPolicy.PROXY], int(CountsAs.PROXY)),
        (of_policy[LabelPolicy.IGNORE], int(CountsAs.IGNORED)),
        else_=int(CountsAs.TRUTH),
    )
    owner = func.first_value(label.reader).over(
        partition_by=label.prediction_id, order_by=(aside > 0, label.feedback_id)
    )
    is_other = label.reader.is_not(None) & label.reader.is_distinct_from(owner)
    truth = case((is_other, int(CountsAs.SECOND_READING)), else_=int(CountsAs.TRUTH))
    again = (
        select(label.feedback_id, case((aside > 0, aside), else_=truth).label("counts_as"))
        .where(label.watched_version_id == watched_version_id)
        .subquery()
    )
    moved = (again.c.feedback_id == label.feedback_id) & (again.c.counts_as != label.counts_as)
    counted = update(feedback).where(moved).values(counts_as=again.c.counts_as)
    return connection.execute(counted).rowcount


def latest_of(
    said: Sequence[SaidLabel], source: str | None, reader: str | None
) -> SaidLabel | None:
    """Return the latest label of this source and reader; None without any."""
    for row in reversed(said):
        if row.source == source and row.reader == reader:
            return row
    return None
