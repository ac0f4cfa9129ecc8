"""Replays: a detector is rebuilt by showing it the first labels in the ledger in their order."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, func, select

from calibration.drift.detector import DriftDetector
from calibration.drift.state import DriftSettings, DriftState
from monitoring.drift import events
from monitoring.drift.events import AFRESH, CHECKPOINT, SETTINGS, STARTED, Event
from monitoring.errors import LedgerError
from monitoring.feedback.labeling import FirstLabel
from monitoring.ledger import versions
from monitoring.ledger.schema import EVERYTHING, feedback, patient_bet, prediction
from monitoring.ledger.sum_tables import admitted, slices_of

RESTARTS: Final = (STARTED, *AFRESH)
_BEGINNINGS: Final = (CHECKPOINT, *RESTARTS)  # a replay can start after one of these
BET: Final = func.coalesce(patient_bet.c.bet, prediction.c.first_feedback_id)


class LabelRow(NamedTuple):
    """A first label as the ledger has it, and when it arrived."""

    label: FirstLabel
    received_at_ns: int


def replay(
    connection: Connection, watched_version_id: int, name: str = EVERYTHING
) -> DriftDetector:
    """Rebuild a slice's detector from the labels since its last start. Raises LookupError."""

    def labels(after: int, until: int | None) -> list[FirstLabel]:
        return _labels(connection, watched_version_id, after, until, name)

    history = replayed_events(connection, watched_version_id, name)
    return shown_again(history, _BEGINNINGS, labels)[0]


def shown_again(
    history: Sequence[Event],
    beginnings: Sequence[str],
    labels: Callable[[int, int | None], Sequence[FirstLabel]],
) -> tuple[DriftDetector, int | None]:
    """Rebuild a detector from labels; return it, and the bet that raised its alarm, if any.

    Args:
        history: the result of `replayed_events`.
        beginnings: the kinds of events of which the last is the start.
        labels: the labels with ids over `after` and bets up to `until`, by bet.

    Raises LookupError without such an event.
    """
    first = _last(history, beginnings)
    if first is None:
        raise LookupError("This version was never watched: its history has no start.")
    detector, since, raised_at = detector_after(history, first), history[first].feedback_id, None
    for event in history[first + 1 :]:
        if event.kind == SETTINGS:
            raised_at = show(detector, labels(since, event.feedback_id)) or raised_at
            detector = detector.with_settings(read_settings(event.detail))
            since = event.feedback_id
    return detector, show(detector, labels(since, None)) or raised_at


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
    return DriftDetector(read_settings(settings), state)


def read_settings(stored: Mapping[str, Any]) -> DriftSettings:
    """Return a detector's settings as the ledger keeps them. Raises LedgerError."""
    differing = stored.keys() ^ {each.name for each in fields(DriftSettings)}
    if differing:
        raise LedgerError(
            f"The settings of a drift watch in the ledger differ in {', '.join(sorted(differing))} "
            "from what this release of Candor keeps. Open the ledger with the release that wrote "
            "it, or set CANDOR_LEDGER to a new ledger."
        )
    return DriftSettings(**stored)


def heard(labels: Sequence[FirstLabel], settings: DriftSettings) -> list[FirstLabel]:
    """Return the labels that a watch with these settings uses."""
    return [label for label in labels if label.audited or not settings.audit]


def read_labels(
    connection: Connection,
    watched_version_id: int,
    after: int,
    until: int | None,
    *,
    placed: bool = True,
) -> list[LabelRow]:
    """Return the labels that bet, by bet: first labels of ids over `after`, whose bets are up to
    `until`. With `placed` False, all first labels, each as a bet of its own.
    """
    columns, first_id = prediction.c, prediction.c.first_feedback_id
    wanted: Select[Any] = (
        select(
            *(first_id, columns.confidence, feedback.c.correct, columns.predicted),
            *(columns.audit, columns.tags, columns.patient),
            *(columns.served_at_ns, BET if placed else first_id, feedback.c.received_at_ns),
        )
        .join(feedback, feedback.c.feedback_id == first_id)
        .where(columns.watched_version_id == watched_version_id, first_id > after)
    )
    wanted = that_bet(wanted) if placed else wanted
    if until is not None:
        wanted = wanted.where(until >= BET)
    rows = connection.execute(wanted).all()
    found = [
        LabelRow(FirstLabel(key, p, bool(correct), predicted, audit is not None, *of_answer), ns)
        for key, p, correct, predicted, audit, *of_answer, ns in rows
    ]
    return sorted(found, key=lambda row: (row.label.bet, row.label.feedback_id))


def that_bet(labels: Select[Any]) -> Select[Any]:
    """Select labels that bet, of `prediction`; BET is a column of it."""
    bets = prediction.c.patient.is_(None) | patient_bet.c.bet.is_not(None)
    joined = (
        (patient_bet.c.watched_version_id == prediction.c.watched_version_id)
        & (patient_bet.c.patient == prediction.c.patient)
        & (patient_bet.c.feedback_id == prediction.c.first_feedback_id)
    )
    return labels.outerjoin(patient_bet, joined).where(bets)


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
) -> list[FirstLabel]:
    """The first labels of a slice, as `read_labels` gives those of all answers."""
    rows = read_labels(connection, watched_version_id, after, until)
    labels = [row.label for row in rows]
    texts = {label.tags for label in labels}
    inside = tags_of_slice(connection, watched_version_id, name, texts)
    return labels if inside is None else [label for label in labels if label.tags in inside]


def tags_of_slice(
    connection: Connection, watched_version_id: int, name: str, texts: Set[str | None]
) -> Set[str] | None:
    """Return those of these tags, as stored, whose answers a slice counts; None means all."""
    if name == EVERYTHING:
        return None
    (version,) = versions.load(connection, [watched_version_id])
    known = admitted(connection, version.model)
    return {text for text in texts if text and name in slices_of(known, text)}


def _last(history: Sequence[Event], kinds: Sequence[str]) -> int | None:
    return max((at for at, event in enumerate(history) if event.kind in kinds), default=None)
