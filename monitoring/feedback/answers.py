"""Which answer a label means: look-up by id, with the label that it already has, and labels that
arrived before their answers.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, delete, func, select

from calibration.bins import bin_index
from monitoring.feedback.items import FeedbackItem
from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.schema import (
    DAY_NS,
    feedback_pending,
    label_current,
    prediction,
    watched_versions,
)
from monitoring.ledger.slices import SliceKeys
from monitoring.ledger.statement import Lookup, in_lists, replacing
from monitoring.ledger.sum_changes import Counted, DayBin
from monitoring.ledger.versions import WatchedVersion


class ServedAnswer(NamedTuple):
    """A served answer and its current label in the ledger; `label` is None until there is one."""

    prediction_id: bytes
    watched_version_id: int
    predicted: int
    confidence: float
    served_at_ns: int
    tags: str | None
    audit: float | None
    probabilities: bytes
    label: int | None
    revision: int | None
    first_feedback_id: int | None


_OF_LABEL = ("label", "revision", "first_feedback_id")
_LOOKUP = Lookup(
    select(
        *(
            (label_current if name in _OF_LABEL else prediction).c[name]
            for name in ServedAnswer._fields
        )
    ).select_from(
        prediction.outerjoin(
            label_current, prediction.c.prediction_id == label_current.c.prediction_id
        )
    ),
    prediction.c.prediction_id,
)


@dataclass(slots=True)
class RelabeledAnswer:
    """An answer that already has a label; applying another label changes it in place."""

    prediction_id: bytes
    predicted: int
    counted: Counted
    label: int
    revision: int
    first_feedback_id: int
    changed: bool = False

    @classmethod
    def of(
        cls, found: ServedAnswer, label: int, revision: int, first_feedback_id: int
    ) -> "RelabeledAnswer":
        """The answer with this label."""
        bin_number = int(bin_index(np.array(found.confidence)))
        day_bin = DayBin(found.watched_version_id, found.served_at_ns // DAY_NS, bin_number)
        keys = SliceKeys(found.predicted, found.tags, found.audit is not None)
        counted = Counted(day_bin, found.confidence, keys, found.probabilities)
        return cls(
            found.prediction_id, found.predicted, counted, label, revision, first_feedback_id
        )

    @property
    def watched_version_id(self) -> int:
        """The version that gave the answer."""
        return self.counted.day_bin.watched_version_id

    @property
    def correct(self) -> bool:
        """Whether the current label is what was predicted."""
        return self.label == self.predicted

    def as_current(self) -> tuple[Any, ...]:
        """The row of `label_current`."""
        moment = (self.first_feedback_id, self.revision, self.label, int(self.correct))
        return (self.prediction_id, self.watched_version_id, *moment, self.counted.confidence)


def find(connection: Connection, prediction_ids: Iterable[bytes]) -> dict[bytes, ServedAnswer]:
    """The answers with these ids. Ids that are not in the ledger are left out."""
    rows = map(ServedAnswer._make, _LOOKUP.run(connection, list(dict.fromkeys(prediction_ids))))
    return {row.prediction_id: row for row in rows}


def latest_of_requests(
    connection: Connection, items: Iterable[FeedbackItem]
) -> dict[tuple[str, str], bytes]:
    """The id of each model's latest answer to each request id, for the items that name one."""
    by_model: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.model is not None and item.request_id is not None:
            by_model[item.model].add(item.request_id)
    latest: dict[tuple[str, str], bytes] = {}
    for model, request_ids in by_model.items():
        of_model = select(watched_versions.c.watched_version_id).where(
            watched_versions.c.model == model
        )
        for portion in in_lists(sorted(request_ids)):
            named = prediction.c.request_id.in_(portion)
            answers = select(prediction.c.request_id, prediction.c.prediction_id).where(
                named, prediction.c.watched_version_id.in_(of_model)
            )
            for request_id, prediction_id in connection.execute(
                answers.order_by(prediction.c.prediction_id)
            ):
                latest[model, request_id] = prediction_id  # later ones overwrite earlier ones
    return latest


_pending = feedback_pending.columns
_HOLD_PENDING = replacing(feedback_pending)


def count_pending(connection: Connection) -> dict[str, int]:
    """The number of waiting labels by model."""
    wanted = select(_pending.model, func.count()).group_by(_pending.model)
    return dict(connection.execute(wanted).all())


def is_pending(connection: Connection, item: FeedbackItem) -> bool:
    """Whether a label for this model and request id is already waiting."""
    same = (_pending.model == item.model) & (_pending.request_id == item.request_id)
    return connection.scalar(select(1).where(same)) is not None


def hold_pending(connection: Connection, item: FeedbackItem, *, now_ns: int) -> None:
    """Keep a label until its prediction arrives. A later label for the same request replaces it."""
    row = (item.model, item.request_id, item.label, item.source, item.observed_at_ns, now_ns)
    _HOLD_PENDING.run(connection, [row])


def release_pending(
    connection: Connection, rows: Sequence[PredictionRow], versions: dict[int, WatchedVersion]
) -> list[FeedbackItem]:
    """Remove the labels that waited for these predictions; returns them as items that name the
    prediction.
    """
    arrived: dict[tuple[str, str], bytes] = {}
    for row in rows:
        if row.request_id is not None:
            arrived[versions[row.watched_version_id].model, row.request_id] = row.prediction_id
    if not arrived or connection.scalar(select(_pending.model).limit(1)) is None:
        return []
    released: list[Any] = []
    for model, request_ids in _by_model(arrived).items():
        for portion in in_lists(request_ids):
            held = (_pending.model == model) & _pending.request_id.in_(portion)
            released += connection.execute(
                delete(feedback_pending).where(held).returning(*_pending)
            ).all()
    return [
        FeedbackItem(
            row.label,
            arrived[row.model, row.request_id],
            source=row.source,
            observed_at_ns=row.observed_at_ns,
        )
        for row in sorted(released, key=lambda row: (row.received_at_ns, row.request_id))
    ]


def _by_model(arrived: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    by_model: dict[str, list[str]] = defaultdict(list)
    for model, request_id in arrived:
        by_model[model].append(request_id)
    return by_model
