"""One commit: the answers and labels of a group with their sums and detectors, all or nothing."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from monitoring.drift import watch
from monitoring.drift.watch import advance_tags
from monitoring.errors import ModelNotInLedger, NotRegistered
from monitoring.feedback.answers import release_pending
from monitoring.feedback.items import FeedbackItem, FeedbackResult, TransactionCounts
from monitoring.feedback.labeling import FeedbackPolicy, FirstLabel, Labeling
from monitoring.ledger.inputs import add_inputs
from monitoring.ledger.locks import Lock, lock, share
from monitoring.ledger.predictions import PredictionRow, absent, append
from monitoring.ledger.slices import SliceKeys, SliceNames
from monitoring.ledger.versions import WatchedVersion, of_card
from monitoring.logged.prediction_log import LoggedItem, LoggedResult, PredictionLog, label_of
from monitoring.recording.queue import Batch, CommitGroup, Labels
from monitoring.recording.spool import Frame


@dataclass(frozen=True)
class Commit:
    """Writes groups. `versions` holds those known so far, by id; labels of others add
    theirs.
    """

    versions: dict[int, WatchedVersion]
    policy: FeedbackPolicy
    slices: SliceNames
    shard: int = 0

    def write(
        self, connection: Connection, group: CommitGroup, *, now_ns: int
    ) -> tuple[TransactionCounts, list[list[FeedbackResult]]]:
        """Write a group in the caller's transaction; return what to count after the commit, and the
        results.
        """
        counts = TransactionCounts()
        self.slices.begin()
        rows = [row for batch in group.batches for row in batch.rows]
        waited: list[FeedbackItem] = []
        _lock_requests(connection, group, rows)
        if rows:
            self._require_registered({row.watched_version_id for row in rows})
            append(connection, rows, counts.changes)
            waited = release_pending(connection, rows, self.versions)
        items = waited + [item for portion in group.labels for item in portion.items]
        results = self._label(connection, items, counts, now_ns=now_ns) if items else []
        counts.changes.save(connection, self.slices, shard=self.shard)
        add_inputs(
            connection, (batch.inputs for batch in group.batches if batch.inputs), shard=self.shard
        )
        return counts, _by_portion(results[len(waited) :], group.labels)

    def join(
        self, connection: Connection, frames: Sequence[Frame], *, now_ns: int
    ) -> TransactionCounts:
        """Write spooled answers except those already there: a commit may have succeeded without our
        knowing.
        """
        rows = [row for frame in frames for row in self._of_this_ledger(connection, frame)]
        group = CommitGroup([Batch(absent(connection, rows), lambda _: None)], [])
        return self.write(connection, group, now_ns=now_ns)[0]

    def _of_this_ledger(self, connection: Connection, frame: Frame) -> list[PredictionRow]:
        """Return a frame's answers with the watched version ids of this ledger. Raises
        ModelNotInLedger if it lacks one.
        """
        here: dict[int, int] = {}
        for number, card in frame.cards.items():
            row = of_card(connection, *card)
            if row is None:
                raise ModelNotInLedger(card.model, card.version)
            self.versions.setdefault(row.watched_version_id, row)
            here[number] = row.watched_version_id
        return [row._replace(watched_version_id=here[row.watched_version_id]) for row in frame.rows]

    def log(
        self, connection: Connection, items: Sequence[LoggedItem], *, now_ns: int
    ) -> tuple[TransactionCounts, list[LoggedResult]]:
        """Write answers of models served elsewhere and the labels sent with them, each answer
        once.
        """
        counts = TransactionCounts()
        self.slices.begin()
        lock(connection, Lock.REQUESTS)  # nobody else may log, or label by request id, meanwhile
        log = PredictionLog(connection, self.versions, now_ns=now_ns)
        results = log.judge(items)
        waited: list[FeedbackItem] = []
        if log.rows:
            append(connection, log.rows, counts.changes)
            waited = release_pending(connection, log.rows, self.versions)
        labels = [
            (number, label)
            for number, item in enumerate(items)
            if (label := label_of(item, results[number]))
        ]
        given = [*waited, *(label for _, label in labels)]
        labeled = self._label(connection, given, counts, now_ns=now_ns) if given else []
        for (number, _), label_result in zip(labels, labeled[len(waited) :], strict=True):
            results[number] = results[number]._replace(feedback=label_result.status)
        counts.changes.save(connection, self.slices, shard=self.shard)
        return counts, results

    def _require_registered(self, watched_version_ids: set[int]) -> None:
        for watched_version_id in watched_version_ids - self.versions.keys():
            raise NotRegistered(watched_version_id)

    def _label(
        self,
        connection: Connection,
        items: Sequence[FeedbackItem],
        counts: TransactionCounts,
        *,
        now_ns: int,
    ) -> list[FeedbackResult]:
        labeling = Labeling(
            connection, self.versions, policy=self.policy, counts=counts, now_ns=now_ns
        )
        results = labeling.apply(items)
        for watched_version_id, last_feedback_id in labeling.last_feedback_id.items():
            labels = labeling.first_labels.get(watched_version_id, [])
            whole, raised = watch.advance(
                connection,
                watched_version_id,
                labels,
                last_feedback_id=last_feedback_id,
                now_ns=now_ns,
            )
            counts.alarms[watched_version_id] += raised
            if whole.tags.keys:

                def slices_of(
                    label: FirstLabel, watched_version_id: int = watched_version_id
                ) -> tuple[str, ...]:
                    return self.slices.of(
                        connection, watched_version_id, SliceKeys(label.predicted, label.tags)
                    )

                counts.alarms[watched_version_id] += advance_tags(
                    connection, whole, labels, slices_of, now_ns=now_ns
                )
        return results


def _lock_requests(
    connection: Connection, group: CommitGroup, rows: Sequence[PredictionRow]
) -> None:
    """Lock, so that a label by request id and its answer cannot miss each other in two
    processes.
    """
    if any(item.request_id is not None for portion in group.labels for item in portion.items):
        lock(connection, Lock.REQUESTS)
    elif any(row.request_id is not None for row in rows):
        share(connection, Lock.REQUESTS)


def _by_portion(
    results: list[FeedbackResult], portions: Sequence[Labels]
) -> list[list[FeedbackResult]]:
    """Split the results by portion."""
    left = iter(results)
    return [list(itertools.islice(left, len(portion.items))) for portion in portions]
