"""Applies labels: joins each to its answer, checks it, writes it, and updates the sums.

The same label again changes nothing. A different label is a revision: it changes the sums by the
difference, but never reaches the drift detector, which sees the first label of each answer in the
order of the feedback ids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from monitoring.errors import LabelUnknown, ModelNotInLedger, PendingFull
from monitoring.feedback import pending
from monitoring.feedback.answers import RelabeledAnswer, ServedAnswer, find, latest_of_requests
from monitoring.feedback.counts import TransactionCounts
from monitoring.feedback.first_labels import FirstLabel, FirstLabels, NewLabel
from monitoring.feedback.items import FeedbackItem, FeedbackResult, FeedbackStatus, Reason
from monitoring.ledger.calibrations import CalibrationRow, load, of_model
from monitoring.ledger.dialects import dialect_of
from monitoring.ledger.locks import lock_calibrations
from monitoring.ledger.schema import feedback, label_current
from monitoring.ledger.shadows import has_shadows, shadow_id
from monitoring.ledger.statement import inserting, replacing
from monitoring.ledger.watermark import pruned_before_ns

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
        calibrations: dict[int, CalibrationRow],
        *,
        policy: FeedbackPolicy,
        counts: TransactionCounts,
        now_ns: int,
    ) -> None:
        self.first_labels: dict[int, list[FirstLabel]] = {}  # by calibration id
        self.last_feedback_id: dict[int, int] = {}  # by calibration id
        self._connection = connection
        self._calibrations = calibrations
        self._policy = policy
        self._counts = counts
        self._now_ns = now_ns
        self._first_labels = FirstLabels()
        self._answers: dict[bytes, RelabeledAnswer] = {}  # of those that were labeled before
        self._revisions: list[tuple[Any, ...]] = []
        self._newest: dict[str, CalibrationRow | None] = {}  # by model
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
        shadow_ids = [shadow_id(each) for each in named] if has_shadows(self._connection) else []
        found = self._find_locked(named + shadow_ids)
        self._load_calibrations({row.calibration_id for row in found.values()})
        self._numbers = dialect_of(self._connection).next_feedback_ids(
            self._connection, len(items) + len(shadow_ids)
        )
        self._pruned_before_ns = pruned_before_ns(self._connection)
        results = [
            self._judge(item, found.get(prediction_id) if prediction_id else None)
            for item, prediction_id in zip(items, ids, strict=True)
        ]
        if shadow_ids:
            self._judge_shadows(items, ids, found)
        _INSERT.run(self._connection, self._first_labels.feedback(self._now_ns) + self._revisions)
        _ENTER.run(self._connection, self._first_labels.current())
        _KEEP.run(
            self._connection,
            [answer.as_current() for answer in self._answers.values() if answer.changed],
        )
        self._first_labels.count(self._counts, now_ns=self._now_ns)
        for calibration_id, labels in self._first_labels.by_calibration().items():
            self.first_labels[calibration_id] = labels
            known = self.last_feedback_id.get(calibration_id, 0)
            self.last_feedback_id[calibration_id] = max(known, labels[-1].feedback_id)
        return results

    def _judge_shadows(
        self,
        items: Sequence[FeedbackItem],
        ids: Sequence[bytes | None],
        found: dict[bytes, ServedAnswer],
    ) -> None:
        """Label the shadow's answers too, if the shadow knows the class. Clients get no result for
        these.
        """
        for item, prediction_id in zip(items, ids, strict=True):
            answer = found.get(shadow_id(prediction_id)) if prediction_id else None
            if (
                answer is not None
                and item.label in self._calibrations[answer.calibration_id].class_index
            ):
                self._judge(item, answer)

    def _find_locked(self, ids: Sequence[bytes]) -> dict[bytes, ServedAnswer]:
        """The answers, with their calibrations locked against other labelers until the transaction
        ends.
        """
        found = find(self._connection, ids)
        if lock_calibrations(self._connection, {row.calibration_id for row in found.values()}):
            found = find(
                self._connection, ids
            )  # again, because another labeler may have changed them before the lock
        return found

    def _load_calibrations(self, calibration_ids: set[int]) -> None:
        for row in load(self._connection, sorted(calibration_ids - self._calibrations.keys())):
            self._calibrations[row.calibration_id] = row

    def _judge(self, item: FeedbackItem, found: ServedAnswer | None) -> FeedbackResult:
        if found is None:
            return self._missing(item) if item.prediction_id else self._early(item)
        if found.served_at_ns < self._pruned_before_ns:
            return self._expire(item)  # a prune is running and will delete this answer
        label = self._calibrations[found.calibration_id].class_index.get(item.label)
        if label is None:
            classes = self._calibrations[found.calibration_id].classes
            return self._reject(Reason.UNKNOWN_LABEL, LabelUnknown(item.label, classes))
        if found.label is None and found.prediction_id not in self._first_labels:
            self._first_labels.add(NewLabel(next(self._numbers), item, found, label))
            return FeedbackResult(FeedbackStatus.ACCEPTED, found.prediction_id)
        return self._judge_again(item, self._answer(found), label)

    def _judge_again(
        self, item: FeedbackItem, answer: RelabeledAnswer, label: int
    ) -> FeedbackResult:
        if label == answer.label:
            self._counts.duplicates[answer.calibration_id] += 1
            return FeedbackResult(FeedbackStatus.UNCHANGED, answer.prediction_id)
        self._counts.changes.correct(answer.counted, answer.label, label)
        answer.label, answer.revision, answer.changed = label, answer.revision + 1, True
        number = next(self._numbers)
        what = (answer.calibration_id, answer.revision, answer.label, int(answer.correct))
        moment = (item.source, item.observed_at_ns, self._now_ns)
        self._revisions.append((number, answer.prediction_id, *what, *moment))
        self.last_feedback_id[answer.calibration_id] = number
        return FeedbackResult(FeedbackStatus.CORRECTED, answer.prediction_id)

    def _answer(self, found: ServedAnswer) -> RelabeledAnswer:
        """An answer that was labeled before, possibly earlier in the same list."""
        answer = self._answers.get(found.prediction_id)
        if answer is None:
            if found.label is None:
                first = self._first_labels[found.prediction_id]
                answer = RelabeledAnswer.of(found, first.label, 0, first.number)
            else:
                answer = RelabeledAnswer.of(
                    found, found.label, found.revision or 0, found.first_feedback_id or 0
                )
            self._answers[found.prediction_id] = answer
        return answer

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
        if not pending.is_held(self._connection, item) and not self._has_room():
            return self._reject(Reason.PENDING_FULL, PendingFull(self._policy.pending_limit))
        pending.hold(self._connection, item, now_ns=self._now_ns)
        return FeedbackResult(FeedbackStatus.PENDING)

    def _has_room(self) -> bool:
        """Whether one more label may wait; if so, counts it."""
        if self._waiting is None:
            self._waiting = sum(pending.count(self._connection).values())
        if self._waiting >= self._policy.pending_limit:
            return False
        self._waiting += 1
        return True

    def _reject(self, reason: Reason, error: Exception) -> FeedbackResult:
        self._counts.rejected[reason] += 1
        return FeedbackResult(FeedbackStatus.REJECTED, reason=reason, detail=str(error))
