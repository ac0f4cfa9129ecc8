"""The evidence of the drift watch, if its labels had arrived as they are now.

The watch keeps its promise on first labels, so a correction never reaches it: an alarm that wrong
labels raised stays. This evidence says whether the corrected labels would raise it again. It is no
promise, because corrections may be chosen by their outcome.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, select

from calibration.drift.detector import DriftDetector
from monitoring.drift import watch
from monitoring.drift.replay import BET, RESTARTS, replayed_events, tags_of_slice, that_bet
from monitoring.ledger.schema import EVERYTHING, feedback, label_current, prediction

LABELS_LIMIT: Final = 100_000


@dataclass(frozen=True)
class CurrentEvidence:
    """The watch of a slice on current labels, since its last restart.

    Attributes:
        labels: how many it would have seen, the latest LABELS_LIMIT at most.
        to_correct: labels whose correction made an answer right.
        to_incorrect: labels whose correction made it wrong.
        log_evalue, log_threshold: log E after the last label, and where the alarm is raised.
        active: whether the alarm would have been raised at any of these labels.
    """

    labels: int
    to_correct: int
    to_incorrect: int
    log_evalue: float
    log_threshold: float
    active: bool

    @property
    def corrected(self) -> int:
        """How many of the labels were corrected from right to wrong, or from wrong to right."""
        return self.to_correct + self.to_incorrect


def evidence_on_current_labels(
    connection: Connection, watched_version_id: int, name: str = EVERYTHING
) -> CurrentEvidence | None:
    """Show the current labels to a new detector with the settings of the watch.

    They come in the order of the first labels. Returns None if the slice is not watched.
    """
    watched = watch.load(connection, watched_version_id, name)
    if watched is None:
        return None
    history = replayed_events(connection, watched_version_id, name)
    since = [event.feedback_id for event in history if event.kind in RESTARTS][-1]
    rows = _current(connection, watched_version_id, since, name)
    if watched.settings.audit:
        rows = [row for row in rows if row.audit is not None]
    detector = DriftDetector(watched.settings)
    ids, bets, confidence, correct, predicted, *_ = zip(*rows, strict=True) if rows else [()] * 5
    now_right = np.array(correct, dtype=bool)
    detector.update_many(confidence, now_right, predicted, bets)
    first = _first_outcomes(connection, watched_version_id, since)
    corrected = np.flatnonzero(np.isin(ids, list(first)))
    changed = [now_right[at] for at in corrected if now_right[at] != first[ids[at]]]
    return CurrentEvidence(
        labels=len(rows),
        to_correct=int(sum(changed)),
        to_incorrect=len(changed) - int(sum(changed)),
        log_evalue=detector.log_evalue,
        log_threshold=detector.log_threshold,
        active=detector.active,
    )


def _current(
    connection: Connection, watched_version_id: int, since: int, name: str
) -> Sequence[Any]:
    """Return the current labels of a slice after a feedback id, by bet."""
    current, answer = label_current.c, prediction.c
    wanted = that_bet(
        select(
            *(current.first_feedback_id, BET.label("bet"), current.confidence, current.correct),
            *(answer.predicted, answer.audit, answer.tags),
        )
        .join(prediction, answer.prediction_id == current.prediction_id)
        .where(current.watched_version_id == watched_version_id, current.first_feedback_id > since)
        .order_by(current.first_feedback_id.desc())
        .limit(LABELS_LIMIT)
    )
    rows = list(connection.execute(wanted).all())[::-1]
    if any(row[1] < before[1] for before, row in itertools.pairwise(rows)):  # images of patients
        rows.sort(key=lambda row: (row[1], row[0]))
    if name == EVERYTHING:
        return rows
    inside = tags_of_slice(connection, watched_version_id, name, {row.tags for row in rows}) or ()
    return [row for row in rows if row.tags in inside]


def _first_outcomes(connection: Connection, watched_version_id: int, since: int) -> dict[int, int]:
    """Return 1 if the first label of a corrected answer said right, else 0, by its feedback id."""
    first_id = label_current.c.first_feedback_id
    wanted = (
        select(first_id, feedback.c.correct)
        .join(feedback, feedback.c.feedback_id == first_id)
        .where(
            label_current.c.watched_version_id == watched_version_id,
            label_current.c.revision > 0,
            first_id > since,
        )
    )
    return {key: int(correct) for key, correct in connection.execute(wanted)}
