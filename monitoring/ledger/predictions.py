"""Served answers: writing them, and how far they have been pruned."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import bin_index
from monitoring.ledger.schema import DAY_NS, prediction, watermark
from monitoring.ledger.slices import SliceKeys
from monitoring.ledger.statement import in_lists, inserting, replacing
from monitoring.ledger.sum_changes import Counted, DayBin, SumChanges


class PredictionRow(NamedTuple):
    """One served answer, in the order of the table's columns.

    `prediction_id`: 16 bytes of a UUIDv7. `predicted`: index into the card's classes. `confidence`:
    the largest probability, in [0, 1]. `probabilities`: (K,) float32, little endian.
    `served_at_ns`: nanoseconds since 1970.
    `tags`: a canonical JSON object of strings. `audit`: the probability with which it was drawn for
    an audit, else None.
    """

    prediction_id: bytes
    watched_version_id: int
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
        day_bin = DayBin(row.watched_version_id, row.served_at_ns // DAY_NS, bin_number)
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


_PRUNED, _USED = "pruned", "used"
_KEEP_WATERMARK = replacing(watermark)


def pruned_before_ns(connection: Connection) -> int:
    """Return nanoseconds since 1970, the start of a UTC day; 0 if nothing was ever pruned.

    Answers served earlier are deleted or about to be; their day sums remain.
    """
    return _read_watermark(connection, _PRUNED) or 0


def set_pruned_before(connection: Connection, at_ns: int) -> None:
    """Set it; from the commit on, labels of older answers are expired."""
    _KEEP_WATERMARK.run(connection, [(_PRUNED, at_ns)])


def used_ns(connection: Connection) -> int | None:
    """Return when the ledger was last noted to be in use, else when its newest answer was served,
    if it has one.
    """
    noted = _read_watermark(connection, _USED)
    if noted is not None:
        return noted
    key = prediction.c.prediction_id
    newest: bytes | None = connection.scalar(select(key).order_by(key.desc()).limit(1))
    return (
        None if newest is None else int.from_bytes(newest[:6], "big") * 1_000_000
    )  # a UUIDv7 starts with the time


def set_used(connection: Connection, at_ns: int) -> None:
    """Note that the ledger is in use."""
    _KEEP_WATERMARK.run(connection, [(_USED, at_ns)])


def _read_watermark(connection: Connection, name: str) -> int | None:
    return connection.scalar(select(watermark.c.at_ns).filter_by(name=name))
