"""Served answers as a label finds them: by id, with the label they have already."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import bin_index
from monitoring.feedback.items import FeedbackItem
from monitoring.ledger.schema import calibration, label_current, prediction
from monitoring.ledger.slices import Traits
from monitoring.ledger.sums import DAY_NS, Cell, Counted

_CHUNK = 500  # parameters in one IN list
_WANTED = select(
    *(prediction.c[name] for name in ("prediction_id", "calibration_id", "predicted", "confidence", "served_at_ns")),
    *(prediction.c[name] for name in ("tags", "audit")),
    *(label_current.c[name] for name in ("label", "revision", "first_feedback_id")),
).select_from(prediction.outerjoin(label_current, prediction.c.prediction_id == label_current.c.prediction_id))


@dataclass(slots=True)
class Answer:
    """A served answer and its current label (None: not labeled yet); changed in place as labels are applied."""

    prediction_id: bytes
    predicted: int
    counted: Counted
    served_at_ns: int
    label: int | None
    revision: int | None
    first_feedback_id: int | None
    changed: bool = False

    @property
    def calibration_id(self) -> int:
        """The calibration that gave the answer."""
        return self.counted.cell.calibration_id

    @property
    def correct(self) -> bool:
        """Whether the current label is what was predicted."""
        return self.label == self.predicted

    def as_current(self) -> tuple[Any, ...]:
        """The row of `label_current`."""
        moment = (self.first_feedback_id, self.revision, self.label, int(self.correct))
        return (self.prediction_id, self.calibration_id, *moment, self.counted.confidence)


def find(connection: Connection, prediction_ids: Iterable[bytes]) -> dict[bytes, Answer]:
    """The answers of these ids; an id that the ledger does not hold is absent."""
    wanted = list(dict.fromkeys(prediction_ids))
    found: dict[bytes, Answer] = {}
    for start in range(0, len(wanted), _CHUNK):
        chosen = prediction.c.prediction_id.in_(wanted[start : start + _CHUNK])
        rows = connection.execute(_WANTED.where(chosen)).all()
        bins = bin_index(np.array([row.confidence for row in rows])).tolist()
        for row, bin_number in zip(rows, bins, strict=True):
            cell = Cell(row.calibration_id, row.served_at_ns // DAY_NS, bin_number)
            found[row.prediction_id] = Answer(
                row.prediction_id,
                row.predicted,
                Counted(cell, row.confidence, Traits(row.predicted, row.tags, row.audit is not None)),
                row.served_at_ns,
                row.label,
                row.revision,
                row.first_feedback_id,
            )
    return found


def latest_of_requests(connection: Connection, items: Iterable[FeedbackItem]) -> dict[tuple[str, str], bytes]:
    """The id of each model's latest answer to each request id, for the items that name one."""
    by_model: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.model is not None and item.request_id is not None:
            by_model[item.model].add(item.request_id)
    latest: dict[tuple[str, str], bytes] = {}
    for model, request_ids in by_model.items():
        wanted = sorted(request_ids)
        of_model = select(calibration.c.calibration_id).where(calibration.c.model == model)
        for start in range(0, len(wanted), _CHUNK):
            named = prediction.c.request_id.in_(wanted[start : start + _CHUNK])
            answers = select(prediction.c.request_id, prediction.c.prediction_id).where(
                named, prediction.c.calibration_id.in_(of_model)
            )
            for request_id, prediction_id in connection.execute(answers.order_by(prediction.c.prediction_id)):
                latest[model, request_id] = prediction_id  # the last one stays
    return latest
