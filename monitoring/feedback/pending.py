"""Labels that arrived before their predictions: kept by model and request id until the prediction
arrives.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select

from monitoring.feedback.items import FeedbackItem
from monitoring.ledger.calibrations import CalibrationRow
from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.schema import feedback_pending
from monitoring.ledger.statement import in_lists, replacing

_columns = feedback_pending.columns
_HOLD = replacing(feedback_pending)


def count(connection: Connection) -> dict[str, int]:
    """The number of waiting labels by model."""
    wanted = select(_columns.model, func.count()).group_by(_columns.model)
    return dict(connection.execute(wanted).all())


def is_held(connection: Connection, item: FeedbackItem) -> bool:
    """Whether a label for this model and request id is already waiting."""
    same = (_columns.model == item.model) & (_columns.request_id == item.request_id)
    return connection.scalar(select(1).where(same)) is not None


def hold(connection: Connection, item: FeedbackItem, *, now_ns: int) -> None:
    """Keep a label until its prediction arrives. A later label for the same request replaces it."""
    row = (item.model, item.request_id, item.label, item.source, item.observed_at_ns, now_ns)
    _HOLD.run(connection, [row])


def release(
    connection: Connection, rows: Sequence[PredictionRow], calibrations: dict[int, CalibrationRow]
) -> list[FeedbackItem]:
    """Remove the labels that waited for these predictions; returns them as items that name the
    prediction.
    """
    arrived: dict[tuple[str, str], bytes] = {}
    for row in rows:
        if row.request_id is not None:
            arrived[calibrations[row.calibration_id].model, row.request_id] = row.prediction_id
    if not arrived or connection.scalar(select(_columns.model).limit(1)) is None:
        return []
    released: list[Any] = []
    for model, request_ids in _by_model(arrived).items():
        for portion in in_lists(request_ids):
            held = (_columns.model == model) & _columns.request_id.in_(portion)
            released += connection.execute(
                delete(feedback_pending).where(held).returning(*_columns)
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
