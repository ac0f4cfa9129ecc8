"""Writing served answers to the ledger."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import bin_index
from monitoring.ledger.schema import prediction
from monitoring.ledger.slices import SliceKeys
from monitoring.ledger.statement import in_lists, inserting
from monitoring.ledger.sum_changes import Counted, DayBin, SumChanges
from monitoring.ledger.sums import DAY_NS


class PredictionRow(NamedTuple):
    """One served answer, in the order of the table's columns.

    `prediction_id`: 16 bytes of a UUIDv7. `predicted`: index into the card's classes. `confidence`:
    the largest probability, in [0, 1]. `probabilities`: (K,) float32, little endian.
    `served_at_ns`: nanoseconds since 1970.
    `tags`: a canonical JSON object of strings. `audit`: the probability with which it was drawn for
    an audit, else None.
    """

    prediction_id: bytes
    calibration_id: int
    request_id: str | None
    predicted: int
    confidence: float
    probabilities: bytes
    served_at_ns: int
    tags: str | None = None
    audit: float | None = None


_INSERT = inserting(prediction)


def append(connection: Connection, rows: Sequence[PredictionRow], changes: SumChanges) -> None:
    """Insert the rows and count them in `changes`."""
    _INSERT.run(connection, rows)
    bins = bin_index(np.array([row.confidence for row in rows])).tolist()
    for row, bin_number in zip(rows, bins, strict=True):
        day_bin = DayBin(row.calibration_id, row.served_at_ns // DAY_NS, bin_number)
        keys = SliceKeys(row.predicted, row.tags, row.audit is not None)
        changes.serve(Counted(day_bin, row.confidence, keys, row.probabilities))


def absent(connection: Connection, rows: Sequence[PredictionRow]) -> list[PredictionRow]:
    """Return those of `rows` that are not in the ledger."""
    ids = [row.prediction_id for row in rows]
    there: set[bytes] = set()
    for portion in in_lists(ids):
        asked = prediction.c.prediction_id.in_(portion)
        there |= {
            bytes(key)
            for key in connection.scalars(select(prediction.c.prediction_id).where(asked))
        }
    return [row for row in rows if row.prediction_id not in there]
