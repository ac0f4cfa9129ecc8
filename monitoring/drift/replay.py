"""Replays: a detector is rebuilt by showing it the first labels in the ledger again, in their
order.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, func, select

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings, DriftState
from monitoring.drift import events
from monitoring.drift.events import AFRESH, CHECKPOINT, SETTINGS, STARTED, Event
from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger import versions
from monitoring.ledger.schema import (
    EVERYTHING,
    feedback,
    label_current,
    patient_bet,
    prediction,
)
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
    return heard(labels, settings)


def heard(labels: Sequence[FirstLabel], settings: DriftSettings) -> list[FirstLabel]:
    """Return the labels that a watch with these settings uses."""
    return [label for label in labels if label.audited or not settings.audit]


def read_labels(
    connection: Connection,
    watched_version_id: int,
    after: int,
    until: int | None,
    *,
    latest: int | None = None,
) -> list[LabelRow]:
    """Return the labels that bet, by bet: first labels of ids over `after`, the `latest` at most,
    whose bets are up to `until`.
    """
    first_id = label_current.c.first_feedback_id
    bet = func.coalesce(patient_bet.c.bet, first_id)
    wanted = (
        select(
            *(first_id, label_current.c.confidence, feedback.c.correct, prediction.c.predicted),
            *(prediction.c.audit, prediction.c.tags, prediction.c.patient),
            *(prediction.c.served_at_ns, bet, feedback.c.received_at_ns),
        )
        .join(feedback, feedback.c.feedback_id == first_id)
        .join(prediction, prediction.c.prediction_id == label_current.c.prediction_id)
        .outerjoin(
            patient_bet,
            (patient_bet.c.watched_version_id == label_current.c.watched_version_id)
            & (patient_bet.c.patient == prediction.c.patient)
            & (patient_bet.c.feedback_id == first_id),
        )
        .where(label_current.c.watched_version_id == watched_version_id, first_id > after)
        .where(prediction.c.patient.is_(None) | patient_bet.c.bet.is_not(None))
        .order_by(first_id.desc())
    )
    if until is not None:
        wanted = wanted.where(bet <= until)
    rows = connection.execute(wanted.limit(latest)).all()
    found = [
        LabelRow(FirstLabel(key, p, bool(correct), predicted, audit is not None, *of_answer), ns)
        for key, p, correct, predicted, audit, *of_answer, ns in rows
    ]
    return sorted(found, key=lambda row: (row.label.bet, row.label.feedback_id))


def show(detector: DriftDetector, labels: Sequence[FirstLabel]) -> int | None:
    """Update the detector; return the bet that raised the alarm, if any."""
    labels = heard(labels, detector.settings)
    raised = detector.update_many(*columns_of(labels)) if labels else None
    return None if raised is None else labels[raised].bet


def columns_of(labels: Sequence[FirstLabel]) -> tuple[Sequence[Any], ...]:
    """Return what a detector takes of labels: confidence, correct, predicted, bets."""
    _, confidence, correct, predicted, *_, bets = zip(*labels, strict=True)
    return confidence, correct, predicted, bets


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
