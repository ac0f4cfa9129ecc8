"""What an alarm says: the stream of labels that raised it, the direction of the error there, and
its estimated start.

The stream is the one with the most evidence. The start is `calibration.drift.onset` of that
stream's labels since the last reset. Both are estimates: the promise covers the alarm, not its
explanation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from calibration.bins import bin_index
from calibration.drift.detector import DriftDetector
from calibration.drift.onset import onset
from calibration.drift.state import LabelStream
from calibration.wording import percents
from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger import versions
from monitoring.ledger.schema import label_current, prediction

LABELS_LIMIT = 100_000  # the latest labels that the search for the start uses


def describe(
    connection: Connection,
    watched_version_id: int,
    detector: DriftDetector,
    labels: Sequence[FirstLabel],
) -> dict[str, Any]:
    """Return the detail of the alarm event.

    Args:
        connection: to look up names and dates.
        watched_version_id: the version with the alarm.
        detector: its detector, with the alarm raised.
        labels: those since the last reset up to the one that raised the alarm; the latest are
            enough.
    """
    where = detector.stream or LabelStream("all")
    return {
        "labels": detector.alarm_label,
        "direction": detector.direction,
        "stream": where.kind,
        "index": where.index,
        "name": stream_name(connection, watched_version_id, where, detector.settings.bin_count),
        "since": _since(connection, watched_version_id, detector, where, labels),
    }


def stream_name(
    connection: Connection, watched_version_id: int, stream: LabelStream, bin_count: int
) -> str | None:
    """Return the class's name, or the bin's edges; None for the stream of all labels."""
    if stream.kind == "bin" and stream.index is not None:
        return percents(stream.index / bin_count, (stream.index + 1) / bin_count, 0)
    if stream.kind == "class" and stream.index is not None:
        (row,) = versions.load(connection, [watched_version_id])
        return row.classes[stream.index]
    return None


def _since(
    connection: Connection,
    watched_version_id: int,
    detector: DriftDetector,
    where: LabelStream,
    labels: Sequence[FirstLabel],
) -> dict[str, Any] | None:
    """Return the start as label numbers, counted from 1 since the last reset like `alarm_label`.

    Of labels that share a bet, the first stands for all. `from_first`: whether the error may have
    been there from the first label of its stream on.
    """
    labels = [label for label in labels if label.bet == label.feedback_id]
    confidence = np.array([label.confidence for label in labels], dtype=np.float64)
    keys = {
        "all": None,
        "bin": bin_index(confidence),
        "class": np.array([label.predicted for label in labels]),
    }
    key = keys[where.kind]
    chosen = np.arange(len(labels)) if key is None else np.flatnonzero(key == where.index)
    correct = np.array([label.correct for label in labels], dtype=bool)
    found = onset(confidence[chosen], correct[chosen], direction=detector.direction or "over")
    if found is None:
        return None
    last = detector.alarm_label or 0
    at = {name: int(chosen[getattr(found, name)]) for name in ("label", "lower", "upper")}
    numbers = {name: last - (len(labels) - 1 - index) for name, index in at.items()}
    feedback_id = labels[at["label"]].feedback_id
    return numbers | {
        "from_first": found.lower == 0 and len(labels) == last,
        "feedback_id": feedback_id,
        "served_at_ns": _served_at_ns(connection, watched_version_id, feedback_id),
    }


def _served_at_ns(connection: Connection, watched_version_id: int, feedback_id: int) -> int | None:
    """Return when the answer with this first label was served."""
    wanted = select(prediction.c.served_at_ns).join(
        label_current, label_current.c.prediction_id == prediction.c.prediction_id
    )
    label = label_current.c
    chosen = wanted.where(
        label.watched_version_id == watched_version_id, label.first_feedback_id == feedback_id
    )
    return connection.scalar(chosen)
