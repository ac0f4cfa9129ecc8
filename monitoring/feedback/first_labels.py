"""The first labels of one transaction, kept in the order they came and settled all together.

Labels come in lists of thousands; what they do to tables, sums and detector is done by column, not one by one.
"""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from calibration.bins import bin_index
from monitoring.feedback.answers import Found
from monitoring.feedback.counts import Tally
from monitoring.feedback.items import FeedbackItem
from monitoring.ledger.sums import DAY_NS


class First(NamedTuple):
    """An answer's first label. `number`: its feedback id. `label`: index of the class."""

    number: int
    item: FeedbackItem
    answer: Found
    label: int


class FirstLabel(NamedTuple):
    """What the drift detector is told of an answer's first label. `predicted`: index of the class."""

    feedback_id: int
    confidence: float
    correct: bool
    predicted: int
    audited: bool


class Firsts:
    """First labels by prediction id, at most one an answer, in the order of their numbers."""

    def __init__(self) -> None:
        self._firsts: dict[bytes, First] = {}

    def __contains__(self, prediction_id: bytes) -> bool:
        return prediction_id in self._firsts

    def __getitem__(self, prediction_id: bytes) -> First:
        return self._firsts[prediction_id]

    def add(self, first: First) -> None:
        """One more."""
        self._firsts[first.answer.prediction_id] = first

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
            for number, item, answer, label in self._firsts.values()
        ]

    def current(self) -> list[tuple[Any, ...]]:
        """The rows of `label_current`."""
        return [
            (key, answer.calibration_id, number, 0, label, int(label == answer.predicted), answer.confidence)
            for key, (number, _, answer, label) in self._firsts.items()
        ]

    def by_calibration(self) -> dict[int, list[FirstLabel]]:
        """What each calibration's detector is told."""
        told: dict[int, list[FirstLabel]] = defaultdict(list)
        for number, _, answer, label in self._firsts.values():
            right = label == answer.predicted
            first = FirstLabel(number, answer.confidence, right, answer.predicted, answer.audit is not None)
            told[answer.calibration_id].append(first)
        return told

    def count(self, tally: Tally, *, now_ns: int) -> None:
        """Count them in the sums, and how long they took."""
        if not self._firsts:
            return
        answers, labels = zip(*((first.answer, first.label) for first in self._firsts.values()), strict=True)
        _, ids, predicted, confidence, served_ns, tags, audits, *_ = zip(*answers, strict=True)
        p, served = np.array(confidence), np.array(served_ns)
        audited = [audit is not None for audit in audits]
        where = (ids, (served // DAY_NS).tolist(), bin_index(p).tolist())
        keys = list(zip(*where, predicted, tags, audited, labels, strict=True))
        tally.changes.label_many(keys, p, np.array(labels) == np.array(predicted))
        delays_s = np.maximum((now_ns - served) / 1e9, 0.0).tolist()
        if len(set(ids)) == 1:
            tally.delays_s[ids[0]] += delays_s
        else:
            for calibration_id, delay_s in zip(ids, delays_s, strict=True):
                tally.delays_s[calibration_id].append(delay_s)
