"""Look-up of served answers by id, with the label that they already have."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import bin_index
from monitoring.feedback.items import FeedbackItem
from monitoring.ledger.schema import calibration, label_current, prediction
from monitoring.ledger.slices import SliceKeys
from monitoring.ledger.statement import Lookup, in_lists
from monitoring.ledger.sum_changes import Counted, DayBin
from monitoring.ledger.sums import DAY_NS


class ServedAnswer(NamedTuple):
    """A served answer and its current label in the ledger; `label` is None until there is one."""

    prediction_id: bytes
    calibration_id: int
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
        day_bin = DayBin(found.calibration_id, found.served_at_ns // DAY_NS, bin_number)
        keys = SliceKeys(found.predicted, found.tags, found.audit is not None)
        counted = Counted(day_bin, found.confidence, keys, found.probabilities)
        return cls(
            found.prediction_id, found.predicted, counted, label, revision, first_feedback_id
        )

    @property
    def calibration_id(self) -> int:
        """The calibration that gave the answer."""
        return self.counted.day_bin.calibration_id

    @property
    def correct(self) -> bool:
        """Whether the current label is what was predicted."""
        return self.label == self.predicted

    def as_current(self) -> tuple[Any, ...]:
        """The row of `label_current`."""
        moment = (self.first_feedback_id, self.revision, self.label, int(self.correct))
        return (self.prediction_id, self.calibration_id, *moment, self.counted.confidence)


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
        of_model = select(calibration.c.calibration_id).where(calibration.c.model == model)
        for portion in in_lists(sorted(request_ids)):
            named = prediction.c.request_id.in_(portion)
            answers = select(prediction.c.request_id, prediction.c.prediction_id).where(
                named, prediction.c.calibration_id.in_(of_model)
            )
            for request_id, prediction_id in connection.execute(
                answers.order_by(prediction.c.prediction_id)
            ):
                latest[model, request_id] = prediction_id  # later ones overwrite earlier ones
    return latest
