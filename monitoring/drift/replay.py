"""Replays: a detector is rebuilt by showing it the first labels in the ledger again, in their
order.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings, DriftState
from monitoring.drift import events
from monitoring.drift.events import AFRESH, CHECKPOINT, SETTINGS, STARTED, Event
from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger import versions
from monitoring.ledger.schema import EVERYTHING, feedback, label_current, prediction
from monitoring.ledger.slices import place

_BEGINNINGS: Final = (STARTED, CHECKPOINT, *AFRESH)  # a replay can start after one of these


class LabelRow(NamedTuple):
    """A first label as the ledger has it, and when it arrived."""

    label: FirstLabel
    received_at_ns: int


def replay(
    connection: Connection, watched_version_id: int, name: str = EVERYTHING
) -> DriftDetector:
    """Rebuild a slice's detector from the labels since its last start, reset or checkpoint.

    Raises LookupError if it was never watched.
    """
    history = replayed_events(connection, watched_version_id, name)
    first = _last(history, _BEGINNINGS)
    if first is None:
        raise LookupError("This version was never watched: its history has no start.")
    detector, since = detector_after(history, first), history[first].feedback_id
    for event in history[first + 1 :]:  # changes of the settings
        show(detector, _labels(connection, watched_version_id, since, event.feedback_id, name))
        detector = detector.with_settings(DriftSettings(**event.detail))
        since = event.feedback_id
    show(detector, _labels(connection, watched_version_id, since, None, name))
    return detector


def replayed_events(
    connection: Connection, watched_version_id: int, name: str = EVERYTHING
) -> list[Event]:
    """Return the events of a slice that a replay applies, oldest first."""
    history = events.read(connection, watched_version_id, name)
    return [event for event in history if event.kind in (*_BEGINNINGS, SETTINGS)]


def detector_after(history: Sequence[Event], position: int) -> DriftDetector:
    """Return the detector right after its start: empty, or as a checkpoint saved it."""
    event = history[position]
    state = DriftState.from_dict(event.detail["state"]) if event.kind == CHECKPOINT else None
    described = [each for each in history[: position + 1] if each.kind not in AFRESH][-1]
    settings = described.detail.get("settings", described.detail)
    return DriftDetector(DriftSettings(**settings), state)


def seen_since_reset(
    connection: Connection,
    watched_version_id: int,
    settings: DriftSettings,
    *,
    name: str,
    until: int,
    latest: int,
) -> list[FirstLabel]:
    """Return the labels that a detector saw since its last reset, among the `latest` of all."""
    history = replayed_events(connection, watched_version_id, name)
    start = _last(history, (STARTED, *AFRESH))
    since = 0 if start is None else history[start].feedback_id
    labels = _labels(connection, watched_version_id, since, until, name, latest=latest)
    return [label for label in labels if label.audited or not settings.audit]


def read_labels(
    connection: Connection,
    watched_version_id: int,
    after: int,
    until: int | None,
    *,
    latest: int | None = None,
) -> list[LabelRow]:
    """Return the first labels with ids in (after, until], in order, the `latest` at most."""
    first_id = label_current.c.first_feedback_id
    wanted = (
        select(
            *(first_id, label_current.c.confidence, feedback.c.correct, prediction.c.predicted),
            *(prediction.c.audit, prediction.c.tags, prediction.c.patient),
            feedback.c.received_at_ns,
        )
        .join(feedback, feedback.c.feedback_id == first_id)
        .join(prediction, prediction.c.prediction_id == label_current.c.prediction_id)
        .where(label_current.c.watched_version_id == watched_version_id, first_id > after)
        .order_by(first_id.desc())
    )
    if until is not None:
        wanted = wanted.where(first_id <= until)
    rows = connection.execute(wanted.limit(latest)).all()
    return [
        LabelRow(FirstLabel(key, p, bool(correct), predicted, audit is not None, *of_answer), ns)
        for key, p, correct, predicted, audit, *of_answer, ns in reversed(rows)
    ]


def show(detector: DriftDetector, labels: Sequence[FirstLabel]) -> int | None:
    """Update the detector; return the feedback id of the label that raised the alarm, if any."""
    if detector.settings.audit:
        labels = [label for label in labels if label.audited]
    if not labels:
        return None
    ids, confidence, correct, predicted, *_ = zip(*labels, strict=True)
    raised = detector.update_many(confidence, correct, predicted)
    return None if raised is None else int(ids[raised])


def _labels(
    connection: Connection,
    watched_version_id: int,
    after: int,
    until: int | None,
    name: str,
    *,
    latest: int | None = None,
) -> list[FirstLabel]:
    """The first labels of a slice, as `read_labels` gives those of all answers."""
    rows = read_labels(connection, watched_version_id, after, until, latest=latest)
    labels = [row.label for row in rows]
    if name == EVERYTHING:
        return labels
    (version,) = versions.load(connection, [watched_version_id])
    texts = {label.tags for label in labels if label.tags is not None}
    inside = {
        text for text in texts if name in place(connection, version.model, text, admit=False)[0]
    }
    return [label for label in labels if label.tags in inside]


def _last(history: Sequence[Event], kinds: Sequence[str]) -> int | None:
    """The position of the last event of these kinds."""
    return max((at for at, event in enumerate(history) if event.kind in kinds), default=None)
