"""Applies labels: joins each to its answer, checks it, writes it, and updates the sums.

The same label again changes nothing. A different label is a revision: it changes the sums by the
difference, but never reaches the drift detector, which sees the first label of each answer in the
order of the feedback ids. Labels arrive in lists of thousands, so tables, sums and the detector are
updated by column, not label by label.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection

from calibration.bins import bin_index
from monitoring.errors import LabelUnknown, ModelNotInLedger, PendingFull
from monitoring.feedback.answers import (
    RelabeledAnswer,
    ServedAnswer,
    count_pending,
    find,
    hold_pending,
    is_pending,
    latest_of_requests,
)
from monitoring.feedback.items import (
    FeedbackItem,
    FeedbackResult,
    FeedbackStatus,
    Reason,
    TransactionCounts,
)
from monitoring.ledger.dialects import dialect_of
from monitoring.ledger.locks import lock_versions
from monitoring.ledger.predictions import pruned_before_ns
from monitoring.ledger.schema import DAY_NS, feedback, label_current
from monitoring.ledger.statement import inserting, replacing
from monitoring.ledger.versions import WatchedVersion, has_shadows, load, of_model, shadow_id


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
                answer.watched_version_id,
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
                answer.watched_version_id,
                number,
                0,
                label,
                int(label == answer.predicted),
                answer.confidence,
            )
            for key, (number, _, answer, label) in self._first_labels.items()
        ]

    def by_version(self) -> dict[int, list[FirstLabel]]:
        """The first labels for each version's detector."""
        labels: dict[int, list[FirstLabel]] = defaultdict(list)
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
            labels[answer.watched_version_id].append(first)
        return labels

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
            for watched_version_id, delay_s in zip(ids, delays_s, strict=True):
                counts.delays_s[watched_version_id].append(delay_s)


_INSERT = inserting(feedback)
_ENTER, _KEEP = inserting(label_current), replacing(label_current)


@dataclass(frozen=True)
class FeedbackPolicy:
    """`pending_limit`: labels that may wait for their predictions; `retention_s`: how long the
    ledger keeps answers.
    """

    pending_limit: int = 100_000
    retention_s: float | None = None


class Labeling:
    """The labels of one transaction. Build it, `apply` items once, then read `first_labels` and
    `last_feedback_id`.
    """

    def __init__(
        self,
        connection: Connection,
        versions: dict[int, WatchedVersion],
        *,
        policy: FeedbackPolicy,
        counts: TransactionCounts,
        now_ns: int,
    ) -> None:
        self.first_labels: dict[int, list[FirstLabel]] = {}  # by watched version id
        self.last_feedback_id: dict[int, int] = {}  # by watched version id
        self._connection = connection
        self._versions = versions
        self._policy = policy
        self._counts = counts
        self._now_ns = now_ns
        self._first_labels = FirstLabels()
        self._answers: dict[bytes, RelabeledAnswer] = {}  # of those that were labeled before
        self._revisions: list[tuple[Any, ...]] = []
        self._newest: dict[str, WatchedVersion | None] = {}  # by model
        self._waiting: int | None = None  # all labels that wait; counted when first needed
        self._numbers: Iterator[int] = iter(())
        self._pruned_before_ns = 0

    def apply(self, items: Sequence[FeedbackItem]) -> list[FeedbackResult]:
        """Apply the items in their order; returns one result per item."""
        latest = latest_of_requests(self._connection, items)
        ids = [
            item.prediction_id or latest.get((item.model or "", item.request_id or ""))
            for item in items
        ]
        named = [prediction_id for prediction_id in ids if prediction_id]
        shadow_ids = (
            [shadow_id(prediction_id) for prediction_id in named]
            if has_shadows(self._connection)
            else []
        )
        answers = self._find_locked(named + shadow_ids)
        self._load_versions({row.watched_version_id for row in answers.values()})
        self._numbers = dialect_of(self._connection).next_feedback_ids(
            self._connection, len(items) + len(shadow_ids)
        )
        self._pruned_before_ns = pruned_before_ns(self._connection)
        results = [
            self._judge(item, answers.get(prediction_id) if prediction_id else None)
            for item, prediction_id in zip(items, ids, strict=True)
        ]
        if shadow_ids:
            self._judge_shadows(items, ids, answers)
        _INSERT.run(self._connection, self._first_labels.feedback(self._now_ns) + self._revisions)
        _ENTER.run(self._connection, self._first_labels.current())
        _KEEP.run(
            self._connection,
            [answer.as_current() for answer in self._answers.values() if answer.changed],
        )
        self._first_labels.count(self._counts, now_ns=self._now_ns)
        for watched_version_id, labels in self._first_labels.by_version().items():
            self.first_labels[watched_version_id] = labels
            last = self.last_feedback_id.get(watched_version_id, 0)
            self.last_feedback_id[watched_version_id] = max(last, labels[-1].feedback_id)
        return results

    def _judge_shadows(
        self,
        items: Sequence[FeedbackItem],
        ids: Sequence[bytes | None],
        answers: dict[bytes, ServedAnswer],
    ) -> None:
        """Label the shadow's answers too, if the shadow knows the class. Clients get no result for
        these.
        """
        for item, prediction_id in zip(items, ids, strict=True):
            answer = answers.get(shadow_id(prediction_id)) if prediction_id else None
            if (
                answer is not None
                and item.label in self._versions[answer.watched_version_id].class_index
            ):
                self._judge(item, answer)

    def _find_locked(self, ids: Sequence[bytes]) -> dict[bytes, ServedAnswer]:
        """The answers, with their versions locked against other labelers until the transaction
        ends.
        """
        answers = find(self._connection, ids)
        if lock_versions(self._connection, {row.watched_version_id for row in answers.values()}):
            answers = find(
                self._connection, ids
            )  # again, because another labeler may have changed them before the lock
        return answers

    def _load_versions(self, watched_version_ids: set[int]) -> None:
        for row in load(self._connection, sorted(watched_version_ids - self._versions.keys())):
            self._versions[row.watched_version_id] = row

    def _judge(self, item: FeedbackItem, answer: ServedAnswer | None) -> FeedbackResult:
        if answer is None:
            return self._missing(item) if item.prediction_id else self._early(item)
        if answer.served_at_ns < self._pruned_before_ns:
            return self._expire(item)  # a prune is running and will delete this answer
        label = self._versions[answer.watched_version_id].class_index.get(item.label)
        if label is None:
            classes = self._versions[answer.watched_version_id].classes
            return self._reject(Reason.UNKNOWN_LABEL, LabelUnknown(item.label, classes))
        if answer.label is None and answer.prediction_id not in self._first_labels:
            self._first_labels.add(NewLabel(next(self._numbers), item, answer, label))
            return FeedbackResult(FeedbackStatus.ACCEPTED, answer.prediction_id)
        return self._judge_again(item, self._answer(answer), label)

    def _judge_again(
        self, item: FeedbackItem, answer: RelabeledAnswer, label: int
    ) -> FeedbackResult:
        if label == answer.label:
            self._counts.duplicates[answer.watched_version_id] += 1
            return FeedbackResult(FeedbackStatus.UNCHANGED, answer.prediction_id)
        self._counts.changes.correct(answer.counted, answer.label, label)
        answer.label, answer.revision, answer.changed = label, answer.revision + 1, True
        number = next(self._numbers)
        what = (answer.watched_version_id, answer.revision, answer.label, int(answer.correct))
        moment = (item.source, item.observed_at_ns, self._now_ns)
        self._revisions.append((number, answer.prediction_id, *what, *moment))
        self.last_feedback_id[answer.watched_version_id] = number
        return FeedbackResult(FeedbackStatus.CORRECTED, answer.prediction_id)

    def _answer(self, served: ServedAnswer) -> RelabeledAnswer:
        """An answer that was labeled before, possibly earlier in the same list."""
        relabeled = self._answers.get(served.prediction_id)
        if relabeled is None:
            if served.label is None:
                first = self._first_labels[served.prediction_id]
                relabeled = RelabeledAnswer.of(served, first.label, 0, first.number)
            else:
                relabeled = RelabeledAnswer.of(
                    served, served.label, served.revision or 0, served.first_feedback_id or 0
                )
            self._answers[served.prediction_id] = relabeled
        return relabeled

    def _missing(self, item: FeedbackItem) -> FeedbackResult:
        served_at_ns = (
            int.from_bytes((item.prediction_id or b"")[:6], "big") * 1_000_000
        )  # UUIDv7: ms since 1970
        kept_s = self._policy.retention_s
        if served_at_ns < self._pruned_before_ns or (
            kept_s and served_at_ns < self._now_ns - kept_s * 1e9
        ):
            return self._expire(item)
        self._counts.rejected[Reason.UNKNOWN_PREDICTION] += 1
        return FeedbackResult(FeedbackStatus.UNKNOWN, item.prediction_id, Reason.UNKNOWN_PREDICTION)

    def _expire(self, item: FeedbackItem) -> FeedbackResult:
        self._counts.rejected[Reason.EXPIRED] += 1
        return FeedbackResult(FeedbackStatus.EXPIRED, item.prediction_id, Reason.EXPIRED)

    def _early(self, item: FeedbackItem) -> FeedbackResult:
        model = item.model or ""
        if model not in self._newest:
            self._newest[model] = next(iter(of_model(self._connection, model)), None)
        newest = self._newest[model]
        if newest is None:
            return self._reject(Reason.UNKNOWN_MODEL, ModelNotInLedger(model))
        if item.label not in newest.class_index:
            return self._reject(Reason.UNKNOWN_LABEL, LabelUnknown(item.label, newest.classes))
        if not is_pending(self._connection, item) and not self._has_room():
            return self._reject(Reason.PENDING_FULL, PendingFull(self._policy.pending_limit))
        hold_pending(self._connection, item, now_ns=self._now_ns)
        return FeedbackResult(FeedbackStatus.PENDING)

    def _has_room(self) -> bool:
        """Whether one more label may wait; if so, counts it."""
        if self._waiting is None:
            self._waiting = sum(count_pending(self._connection).values())
        if self._waiting >= self._policy.pending_limit:
            return False
        self._waiting += 1
        return True

    def _reject(self, reason: Reason, error: Exception) -> FeedbackResult:
        self._counts.rejected[reason] += 1
        return FeedbackResult(FeedbackStatus.REJECTED, reason=reason, detail=str(error))
