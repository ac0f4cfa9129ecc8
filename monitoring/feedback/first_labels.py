"""The first labels of one transaction, in the order of arrival, applied together.

Labels arrive in lists of thousands, so tables, sums and the detector are updated by column, not
label by label.
"""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from calibration.bins import bin_index
from monitoring.feedback.answers import ServedAnswer
from monitoring.feedback.counts import TransactionCounts
from monitoring.feedback.items import FeedbackItem
from monitoring.ledger.sums import DAY_NS


class NewLabel(NamedTuple):
    """A first label that is not written yet. `number`: its feedback id. `label`: index of the
    class.
    """

    number: int
    item: FeedbackItem
    answer: ServedAnswer
    label: int


class FirstLabel(NamedTuple):
    """What the drift detectors need of an answer's first label. `predicted`: index of the class;
    `tags`: as stored.
    """

    feedback_id: int
    confidence: float
    correct: bool
    predicted: int
    audited: bool
    tags: str | None = None


class FirstLabels:
    """First labels by prediction id, at most one per answer, in the order of their numbers."""

    def __init__(self) -> None:
        self._first_labels: dict[bytes, NewLabel] = {}

    def __contains__(self, prediction_id: bytes) -> bool:
        return prediction_id in self._first_labels

    def __getitem__(self, prediction_id: bytes) -> NewLabel:
        return self._first_labels[prediction_id]

    def add(self, first: NewLabel) -> None:
        """Add a first label."""
        self._first_labels[first.answer.prediction_id] = first

    def feedback(self, now_ns: int) -> list[tuple[Any, ...]]:
        """The rows of `feedback`."""
        return [
            (
                number,
                answer.prediction_id,
                answer.calibration_id,
                0,
                label,
                int(label == answer.predicted),
                item.source,
                item.observed_at_ns,
                now_ns,
            )
            for number, item, answer, label in self._first_labels.values()
        ]

    def current(self) -> list[tuple[Any, ...]]:
        """The rows of `label_current`."""
        return [
            (
                key,
                answer.calibration_id,
                number,
                0,
                label,
                int(label == answer.predicted),
                answer.confidence,
            )
            for key, (number, _, answer, label) in self._first_labels.items()
        ]

    def by_calibration(self) -> dict[int, list[FirstLabel]]:
        """The first labels for each calibration's detector."""
        told: dict[int, list[FirstLabel]] = defaultdict(list)
        for number, _, answer, label in self._first_labels.values():
            right = label == answer.predicted
            first = FirstLabel(
                number,
                answer.confidence,
                right,
                answer.predicted,
                answer.audit is not None,
                answer.tags,
            )
            told[answer.calibration_id].append(first)
        return told

    def count(self, counts: TransactionCounts, *, now_ns: int) -> None:
        """Add them to the sums, and their delays to the counts."""
        if not self._first_labels:
            return
        answers, labels = zip(
            *((first.answer, first.label) for first in self._first_labels.values()), strict=True
        )
        _, ids, predicted, confidence, served_ns, tags, audits, probabilities, *_ = zip(
            *answers, strict=True
        )
        p, served = np.array(confidence), np.array(served_ns)
        audited = [audit is not None for audit in audits]
        where = (ids, (served // DAY_NS).tolist(), bin_index(p).tolist())
        keys = list(zip(*where, predicted, tags, audited, labels, strict=True))
        counts.changes.label_many(keys, p, np.array(labels) == np.array(predicted), probabilities)
        delays_s = np.maximum((now_ns - served) / 1e9, 0.0).tolist()
        if len(set(ids)) == 1:
            counts.delays_s[ids[0]] += delays_s
        else:
            for calibration_id, delay_s in zip(ids, delays_s, strict=True):
                counts.delays_s[calibration_id].append(delay_s)
