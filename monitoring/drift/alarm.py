"""What an alarm says: the stream of labels that raised it, and the direction of the error there.

The stream is the one with the most evidence. It is an estimate: the promise covers the alarm, not
its explanation. Since when the error is there, the diagnosis says.
"""

from typing import Any

from sqlalchemy import Connection

from calibration.bins import BIN_COUNT
from calibration.drift.detector import DriftDetector
from calibration.drift.state import LabelStream
from calibration.wording import percents
from monitoring.ledger import versions
from monitoring.ledger.watched_version import WatchedVersion


def describe(
    connection: Connection, watched_version_id: int, detector: DriftDetector
) -> dict[str, Any]:
    """Return the detail of the event of an alarm that this detector has raised."""
    where = detector.stream or LabelStream("all")
    (row,) = versions.load(connection, [watched_version_id])
    return {
        "labels": detector.alarm_label,
        "direction": detector.direction,
        "stream": where.kind,
        "index": where.index,
        "name": stream_name(row, where),
    }


def stream_name(row: WatchedVersion, stream: LabelStream) -> str | None:
    """Return the class's name, or the bin's edges; None for the stream of all labels."""
    if stream.kind == "bin" and stream.index is not None:
        return percents(stream.index / BIN_COUNT, (stream.index + 1) / BIN_COUNT, 0)
    if stream.kind == "class" and stream.index is not None:
        return row.classes[stream.index]
    return None
