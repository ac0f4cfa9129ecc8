"""The drift detector's state in a report: the evidence, where it lies, its direction, and the
active alarm.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from sqlalchemy import Connection

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DIRECTIONS
from monitoring.drift import events, watch
from monitoring.drift.acknowledgment import raised_by
from monitoring.drift.alarm import stream_name

_STREAM_LIMIT = 3  # streams that a report names


@dataclass(frozen=True)
class StreamEvidence:
    """One stream and direction, and its `share` of all evidence, in [0, 1]. `name`: a class, a
    bin's edges, or None.
    """

    stream: str
    name: str | None
    direction: str
    share: float


@dataclass(frozen=True)
class Drift:
    """The detector's state.

    Attributes:
        log_evalue: minus infinity before the first label since the last reset.
        streams: those with the most evidence, in descending order.
        alarm: the detail of the active alarm's event: stream, name, direction, and `since`, the
            estimated start.
        audit: whether the detector uses audited answers only.
        alarm_feedback_id: names the active alarm when it is acknowledged; the id of the label that
            raised it.
        alarm_audit: whether it did so when it raised the active alarm.
        class_wise: whether it watches each predicted class, or confidence alone.
        shares_alarms: whether watches of tags share the false alarms, so that `average_run_length`
            is of all together.
    """

    log_evalue: float
    log_threshold: float
    active: bool
    direction: str | None
    labels: int
    alarm_label: int | None
    average_run_length: float
    tolerance: float
    audit: bool = False
    alarm_audit: bool = False
    class_wise: bool = True
    shares_alarms: bool = False
    streams: tuple[StreamEvidence, ...] = ()
    alarm: (
        Annotated[dict[str, Any], Meta(description="depends on the release that raised it")] | None
    ) = None
    alarm_feedback_id: int | None = None

    def labels_since_onset(self) -> int | None:
        """Return how many labels the watch has seen since the estimated start of the drift; None if
        that is unknown.
        """
        since = (self.alarm or {}).get("since")
        return None if not since else self.labels - int(since["label"]) + 1


def find_drift(
    connection: Connection, watched_version_id: int, history: list[events.Event]
) -> Drift | None:
    """Load the detector's state; None if the calibration is not watched."""
    watched = watch.load(connection, watched_version_id)
    if watched is None:
        return None
    detector, raised = watched.detector, events.latest(history, events.ALARM)
    return Drift(
        log_evalue=detector.log_evalue,
        log_threshold=detector.log_threshold,
        active=detector.active,
        direction=detector.direction,
        labels=detector.labels,
        alarm_label=detector.alarm_label,
        average_run_length=detector.settings.average_run_length,
        tolerance=detector.settings.tolerance,
        audit=detector.settings.audit,
        alarm_audit=detector.active and audited_at(history, raised, now=detector.settings.audit),
        class_wise=detector.settings.class_wise,
        shares_alarms=detector.settings.part < 1,
        streams=_streams(connection, watched_version_id, detector),
        alarm=raised.detail if raised and detector.active else None,
        alarm_feedback_id=raised_by(history, active=detector.active),
    )


def audited_at(history: list[events.Event], raised: events.Event | None, *, now: bool) -> bool:
    """Whether the watch used audited answers only when it raised the alarm."""
    changes = (events.STARTED, events.SETTINGS)
    before = history[: history.index(raised)] if raised else []
    details = [event.detail for event in before if event.kind in changes]
    return bool(details[-1].get("audit")) if details else now


def _streams(
    connection: Connection, watched_version_id: int, detector: DriftDetector
) -> tuple[StreamEvidence, ...]:
    evidence = detector.evidence.ravel()
    total = float(evidence.sum())
    if not total:
        return ()
    found = []
    for index in np.argsort(-evidence, kind="stable")[:_STREAM_LIMIT].tolist():
        row, side = divmod(index, 2)
        stream = detector.stream_of(row)
        name = stream_name(connection, watched_version_id, stream, detector.settings.bin_count)
        found.append(
            StreamEvidence(stream.kind, name, DIRECTIONS[side], float(evidence[index]) / total)
        )
    return tuple(found)
