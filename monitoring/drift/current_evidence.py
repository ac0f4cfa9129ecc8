"""The evidence of the drift watch, if its labels had arrived as they are now.

The watch keeps its promise on first labels, so a correction never reaches it: an alarm that wrong
labels raised stays. This evidence says whether the corrected labels would raise it again. It is no
promise, because corrections may be chosen by their outcome.
"""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from calibration.bins import IntArray
from calibration.diagnosis.answers import Answers, BoolArray
from calibration.drift.detector import DriftDetector
from monitoring.drift.replay import RESTARTS, replayed_events
from monitoring.drift.tag_settings import tag_of
from monitoring.drift.watch import Watched
from monitoring.ledger.schema import EVERYTHING


@dataclass(frozen=True)
class CurrentLabels:
    """Labels (n,) that bet, by bet: the id of each answer's first label, and that of its bet."""

    answers: Answers
    first_id: IntArray
    bet: IntArray


@dataclass(frozen=True)
class CurrentEvidence:
    """The watch of a slice on current labels, since its last restart.

    Attributes:
        labels: how many it would have seen, of the latest that a diagnosis reads.
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
    connection: Connection, watched: Watched, labels: CurrentLabels
) -> CurrentEvidence:
    """Show the current labels of a slice to a new detector with the settings of its watch."""
    history = replayed_events(connection, watched.watched_version_id, watched.name)
    since = [event.feedback_id for event in history if event.kind in RESTARTS][-1]
    answers = labels.answers
    seen = (labels.first_id > since) & _of_slice(watched.name, answers)
    if watched.settings.audit and answers.drawn is not None:
        seen &= answers.drawn
    right = answers.correct[seen] == 1
    detector = DriftDetector(watched.settings)
    detector.update_many(answers.confidence[seen], right, answers.predicted[seen], labels.bet[seen])
    first = answers.correct if answers.first_correct is None else answers.first_correct
    changed = right[right != (first[seen] == 1)]
    return CurrentEvidence(
        labels=int(seen.sum()),
        to_correct=int(changed.sum()),
        to_incorrect=int((~changed).sum()),
        log_evalue=detector.log_evalue,
        log_threshold=detector.log_threshold,
        active=detector.active,
    )


def _of_slice(name: str, answers: Answers) -> BoolArray:
    if name == EVERYTHING:
        return np.ones(len(answers), bool)
    key, _, value = tag_of(name).partition("=")
    tag = answers.tags.get(key)
    codes = [] if tag is None else [code for code, of in enumerate(tag.names) if of == value]
    return np.zeros(len(answers), bool) if tag is None else np.isin(tag.codes, codes)
