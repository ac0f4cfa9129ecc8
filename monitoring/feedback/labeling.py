"""Applies labels: joins each to its answer, checks it, writes it, and updates the sums.

The same label again changes nothing. A different label is a revision: it changes the sums by the
difference, but never reaches the drift detector, which sees the first label of each answer in the
order of the feedback ids. Proxies, ignored labels and second readings (answers.py) are kept, and
reach neither. An item that labels the findings of an image is taken apart (`apart.py`). Labels
arrive in lists of thousands, so tables, sums and the detector are updated by column, not label by
label.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import Connection

from monitoring.errors import (
    FeedbackInvalid,
    LabelUnknown,
    ModelNotInLedger,
    MonitoringError,
    PendingFull,
)
from monitoring.feedback.answers import (
    SaidLabel,
    ServedAnswer,
    count_pending,
    counts_as,
    find,
    hold_pending,
    is_pending,
    keep_labels,
    latest_of,
    latest_of_requests,
    read_said,
    row_id,
)
from monitoring.feedback.apart import by_finding
from monitoring.feedback.items import (
    FeedbackItem,
    FeedbackResult,
    FeedbackStatus,
    Reason,
    TransactionCounts,
)
from monitoring.ledger.database import inserting
from monitoring.ledger.dialects import dialect_of
from monitoring.ledger.locks import lock_versions
from monitoring.ledger.predictions import pruned_before_ns, time_of_id
from monitoring.ledger.schema import feedback
from monitoring.ledger.version_events import has_shadows, shadow_id
from monitoring.ledger.versions import load, of_model
from monitoring.ledger.watched_version import UNCERTAIN, CountsAs, WatchedVersion, read_policies
from monitoring.sources import LabelPolicy, SourcePolicies


class FirstLabel(NamedTuple):
    """An answer's first label for the detectors. `predicted`: a class index; `tags` and `patient`
    as stored; `bet`: the feedback id of the first label that shares its bet.
    """

    feedback_id: int
    confidence: float
    correct: bool
    predicted: int
    audited: bool
    tags: str | None = None
    patient: int | None = None
    served_at_ns: int = 0
    bet: int = 0


CORRECTIONS_LIMIT: Final = 1_000  # of one answer; each is kept
_TOO_OFTEN: Final = f"The label of this answer was corrected {CORRECTIONS_LIMIT:,} times; it stays."
_ASIDE: Final = {
    CountsAs.SECOND_READING: FeedbackStatus.SECOND_READING,
    CountsAs.PROXY: FeedbackStatus.PROXY,
    CountsAs.IGNORED: FeedbackStatus.IGNORED,
    CountsAs.UNCERTAIN: FeedbackStatus.UNCERTAIN,
}
_INSERT = inserting(feedback)


@dataclass(frozen=True)
class FeedbackPolicy:
    """`pending_limit`: labels that may wait; `retention_s`: how long answers are kept."""

    pending_limit: int = 100_000
    retention_s: float | None = None


class Labeling:
    """The labels of one transaction: `apply` items once, then read the public fields."""

    def __init__(
        self,
        connection: Connection,
        versions: dict[int, WatchedVersion],
        *,
        policy: FeedbackPolicy,
        counts: TransactionCounts,
        now_ns: int,
    ) -> None:
        self.first_labels: dict[int, list[FirstLabel]] = defaultdict(list)  # by watched version id
        self.last_feedback_id: dict[int, int] = {}  # by watched version id
        self._connection = connection
        self._versions = versions
        self._policy = policy
        self._counts = counts
        self._now_ns = now_ns
        self._first: list[tuple[ServedAnswer, int]] = []  # answers and their first labels
        self._moved: dict[bytes, tuple[ServedAnswer, int, int]] = {}  # corrected, from and to what
        self._feedback: list[SaidLabel] = []  # rows to insert
        self._policies: dict[str, SourcePolicies] = {}  # by model
        self._said: dict[bytes, list[SaidLabel]] = defaultdict(list)  # complete where it matters
        self._current: dict[bytes, ServedAnswer] = {}  # with labels that this transaction changed
        self._newest: dict[str, dict[str, WatchedVersion]] = {}  # by model and finding
        self._waiting: int | None = None  # all labels that wait; counted when first needed
        self._numbers: Iterator[int] = iter(())
        self._pruned_before_ns = 0

    def apply(self, items: Sequence[FeedbackItem]) -> list[FeedbackResult]:
        """Apply the items in their order; returns one result per item."""
        results, refused = by_finding(self._connection, items, self._apply)
        self._counts.rejected[Reason.UNKNOWN_LABEL] += refused
        return results

    def _apply(self, items: Sequence[FeedbackItem]) -> list[FeedbackResult]:
        latest = latest_of_requests(self._connection, items)
        ids = [row_id(item, latest) for item in items]
        named = [prediction_id for prediction_id in ids if prediction_id]
        shadow_ids = list(map(shadow_id, named)) if has_shadows(self._connection) else []
        answers = self._find_locked(named + shadow_ids)
        self._load_versions({row.watched_version_id for row in answers.values()})
        self._numbers = dialect_of(self._connection).next_feedback_ids(
            self._connection, len(items) + len(shadow_ids)
        )
        self._pruned_before_ns = pruned_before_ns(self._connection)
        meant = list(zip(items, ids, strict=True))
        if shadow_ids:
            meant += [(item, shadow_id(key)) for item, key in meant if key]
        self._read_said(meant, answers)
        results = [
            self._judge(item, answers.get(prediction_id) if prediction_id else None)
            for item, prediction_id in zip(items, ids, strict=True)
        ]
        if shadow_ids:
            self._judge_shadows(items, ids, answers)
        _INSERT.run(self._connection, self._feedback)
        keep_labels(self._connection, self._current.values())
        self._count()
        return results

    def _judge_shadows(
        self,
        items: Sequence[FeedbackItem],
        ids: Sequence[bytes | None],
        answers: dict[bytes, ServedAnswer],
    ) -> None:
        """Label the shadow's answers too, if it knows the class. Clients get no result of it."""
        for item, key in zip(items, ids, strict=True):
            answer = answers.get(shadow_id(key)) if key else None
            if answer and self._knows(answer, item.label):
                self._judge(item, answer)

    def _knows(self, answer: ServedAnswer, label: str) -> bool:
        return self._versions[answer.watched_version_id].label_index(label) is not None

    def _find_locked(self, ids: Sequence[bytes]) -> dict[bytes, ServedAnswer]:
        """The answers; their versions stay locked until the transaction ends."""
        answers = find(self._connection, ids)
        if lock_versions(self._connection, {row.watched_version_id for row in answers.values()}):
            # another labeler may have changed them before the lock
            answers = find(self._connection, ids)
        return answers

    def _load_versions(self, watched_version_ids: set[int]) -> None:
        for row in load(self._connection, sorted(watched_version_ids - self._versions.keys())):
            self._versions[row.watched_version_id] = row

    def _read_said(
        self, meant: Sequence[tuple[FeedbackItem, bytes | None]], answers: dict[bytes, ServedAnswer]
    ) -> None:
        """Read policies, and all labels of the answers for which they matter."""
        versions = {row.watched_version_id for row in answers.values()}
        models = {self._versions[each].model for each in versions}
        self._policies = read_policies(self._connection, models)
        asked = (key for item, key in meant if key and self._asks(item, answers.get(key)))
        self._said.update(read_said(self._connection, asked))

    def _asks(self, item: FeedbackItem, answer: ServedAnswer | None) -> bool:
        """Whether it matters what was said of the answer before."""
        if answer is None or answer.label is not None or item.reader is not None:
            return answer is not None
        if item.label == UNCERTAIN:
            return True
        policies = self._policies[self._versions[answer.watched_version_id].model]
        return policies.of(item.source) is not LabelPolicy.TRUTH

    def _judge(self, item: FeedbackItem, answer: ServedAnswer | None) -> FeedbackResult:
        if answer is None:
            return self._missing(item) if item.prediction_id else self._early(item)
        if answer.served_at_ns < self._pruned_before_ns:
            return self._expire(item)  # a prune is running and will delete this answer
        version = self._versions[answer.watched_version_id]
        label = version.label_index(item.label)
        if label is None:
            return self._reject(Reason.UNKNOWN_LABEL, LabelUnknown(item.label, version.classes))
        said = self._said.get(answer.prediction_id, [])
        policies = self._policies[version.model]
        counts = counts_as(policies, label, item.source, item.reader, said)
        before = latest_of(said, item.source, item.reader)
        known = self._current.get(answer.prediction_id) or answer
        current = known.label if counts is CountsAs.TRUTH else label
        if before is not None and before.label == label == current:
            self._counts.duplicates[answer.watched_version_id] += 1
            return FeedbackResult(FeedbackStatus.UNCHANGED, answer.prediction_id)
        if len(said) > CORRECTIONS_LIMIT:
            return self._reject(Reason.INVALID, FeedbackInvalid(_TOO_OFTEN))
        if counts is CountsAs.TRUTH:
            return FeedbackResult(self._label(item, answer, label), answer.prediction_id)
        self._append(item, answer, label, counts)
        self._counts.aside[answer.watched_version_id, counts] += 1
        return FeedbackResult(_ASIDE[counts], answer.prediction_id)

    def _label(self, item: FeedbackItem, answer: ServedAnswer, label: int) -> FeedbackStatus:
        known = self._current.get(answer.prediction_id) or answer
        if known.label is None:
            if answer.patient is None and isinstance(item.patient, int):
                answer = answer._replace(patient=item.patient)
            first = self._write(item, answer, label)
            self._first.append((answer, label))
            self.first_labels[answer.watched_version_id].append(first)
            return FeedbackStatus.ACCEPTED
        if label == known.label:  # another source confirms it, and its policy may change
            self._counts.duplicates[answer.watched_version_id] += 1
            self._append(item, answer, label, CountsAs.TRUTH)
            return FeedbackStatus.UNCHANGED
        before = self._moved.get(answer.prediction_id, (answer, known.label))[1]
        self._moved[answer.prediction_id] = answer, before, label
        self._write(item, known, label)
        return FeedbackStatus.CORRECTED

    def _write(self, item: FeedbackItem, answer: ServedAnswer, label: int) -> FirstLabel:
        """Keep the label of an answer, its first or a correction."""
        number = self._append(item, answer, label, CountsAs.TRUTH)
        revision = 0 if answer.revision is None else answer.revision + 1
        first = answer.first_feedback_id or number
        labeled = ServedAnswer(*answer[:-3], label, first, revision)  # _replace takes twice as long
        self._current[answer.prediction_id] = labeled
        correct = label == answer.predicted
        said = (answer.confidence, correct, answer.predicted, answer.audit is not None)
        return FirstLabel(number, *said, answer.tags, answer.patient, answer.served_at_ns)

    def _append(
        self, item: FeedbackItem, answer: ServedAnswer, label: int, counts: CountsAs
    ) -> int:
        """Add a row of `feedback`; return its id."""
        number = next(self._numbers)
        what = (answer.prediction_id, answer.watched_version_id, label)
        voice = (item.source, item.reader, item.observed_at_ns)
        correct = int(label == answer.predicted)
        row = SaidLabel(number, *what, correct, int(counts), *voice, self._now_ns)
        self._feedback.append(row)
        self._said[answer.prediction_id].append(row)
        self.last_feedback_id[answer.watched_version_id] = number
        return number

    def _count(self) -> None:
        """Add the first labels and what corrections came to to the sums, delays to the counts."""
        answers = [answer for answer, _ in self._first]
        self._counts.changes.label(answers, [label for _, label in self._first])
        for number, labels in self.first_labels.items():
            delays = (max((self._now_ns - each.served_at_ns) / 1e9, 0.0) for each in labels)
            self._counts.delays_s[number].extend(delays)
        for answer, before, label in self._moved.values():
            if label != before:
                self._counts.changes.correct(answer, before, label)

    def _missing(self, item: FeedbackItem) -> FeedbackResult:
        served_at_ns, kept_s = time_of_id(item.prediction_id or b""), self._policy.retention_s
        oldest_ns = self._now_ns - kept_s * 1e9 if kept_s else 0
        if served_at_ns < max(self._pruned_before_ns, oldest_ns):
            return self._expire(item)
        self._counts.rejected[Reason.UNKNOWN_PREDICTION] += 1
        return FeedbackResult(FeedbackStatus.UNKNOWN, item.prediction_id, Reason.UNKNOWN_PREDICTION)

    def _expire(self, item: FeedbackItem) -> FeedbackResult:
        self._counts.rejected[Reason.EXPIRED] += 1
        return FeedbackResult(FeedbackStatus.EXPIRED, item.prediction_id, Reason.EXPIRED)

    def _early(self, item: FeedbackItem) -> FeedbackResult:
        newest = self._newest_of(item.model or "", item.finding)
        if newest is None:
            return self._reject(Reason.UNKNOWN_MODEL, ModelNotInLedger(item.model or ""))
        if newest.label_index(item.label) is None:
            return self._reject(Reason.UNKNOWN_LABEL, LabelUnknown(item.label, newest.classes))
        if not is_pending(self._connection, item) and not self._has_room():
            return self._reject(Reason.PENDING_FULL, PendingFull(self._policy.pending_limit))
        hold_pending(self._connection, item, now_ns=self._now_ns)
        return FeedbackResult(FeedbackStatus.PENDING)

    def _newest_of(self, model: str, finding: str) -> WatchedVersion | None:
        """The model's last registered version of this finding."""
        if model not in self._newest:
            rows = of_model(self._connection, model)
            self._newest[model] = {row.finding: row for row in reversed(rows)}
        return self._newest[model].get(finding)

    def _has_room(self) -> bool:
        """Whether one more label may wait; if so, counts it."""
        if self._waiting is None:
            self._waiting = sum(count_pending(self._connection).values())
        if self._waiting >= self._policy.pending_limit:
            return False
        self._waiting += 1
        return True

    def _reject(self, reason: Reason, error: MonitoringError) -> FeedbackResult:
        self._counts.rejected[reason] += 1
        return FeedbackResult(FeedbackStatus.REJECTED, None, reason, str(error), type(error))
