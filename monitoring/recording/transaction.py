"""One commit: the answers and labels of a group with their sums and detectors, all or nothing."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from monitoring.drift import watch
from monitoring.errors import ModelNotInLedger, NotRegistered
from monitoring.feedback.answers import release_pending
from monitoring.feedback.items import FeedbackItem, FeedbackResult, TransactionCounts
from monitoring.feedback.labeling import FeedbackPolicy, FirstLabel, Labeling
from monitoring.ledger.inputs import add_inputs
from monitoring.ledger.locks import Lock, lock, share
from monitoring.ledger.predictions import PredictionRow, absent, append
from monitoring.ledger.slices import SliceKeys, SliceNames
from monitoring.ledger.versions import of_card
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.logged.items import LoggedItem, LoggedResult, joined, label_of
from monitoring.logged.prediction_log import PredictionLog
from monitoring.patient_id import PatientKey
from monitoring.recording.queue import Batch, CommitGroup
from monitoring.recording.spool import Frame


@dataclass(frozen=True)
class Commit:
    """Writes groups. `versions`: those known, by id; labels add theirs. `patients`: their key."""

    versions: dict[int, WatchedVersion]
    policy: FeedbackPolicy
    slices: SliceNames
    patients: PatientKey
    shard: int = 0

    def write(
        self, connection: Connection, group: CommitGroup, *, now_ns: int
    ) -> tuple[TransactionCounts, list[list[FeedbackResult]]]:
        """Write a group; return what to count after the commit, and the results."""
        counts = TransactionCounts()
        rows = [row for batch in group.batches for row in batch.rows]
        items = [item for portion in group.labels for item in portion.items]
        _lock_requests(connection, items, rows)
        self._require_registered({row.watched_version_id for row in rows})
        results = self._record(connection, rows, items, counts, now_ns=now_ns)
        inputs = (batch.inputs for batch in group.batches if batch.inputs)
        add_inputs(connection, inputs, shard=self.shard)
        left = iter(results)
        return counts, [
            list(itertools.islice(left, len(portion.items))) for portion in group.labels
        ]

    def join(
        self, connection: Connection, frames: Sequence[Frame], *, now_ns: int
    ) -> TransactionCounts:
        """Write spooled answers, except those that a commit wrote without our knowing."""
        rows = [row for frame in frames for row in self._of_this_ledger(connection, frame)]
        group = CommitGroup([Batch(absent(connection, rows), lambda _: None)], [])
        return self.write(connection, group, now_ns=now_ns)[0]

    def _of_this_ledger(self, connection: Connection, frame: Frame) -> list[PredictionRow]:
        """Return a frame's answers with this ledger's ids. Raises ModelNotInLedger."""
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
        """Write answers of models served elsewhere, once each, and their labels."""
        counts = TransactionCounts()
        lock(connection, Lock.REQUESTS)  # nobody else may log, or label by request id, meanwhile
        log = PredictionLog(connection, self.versions, patients=self.patients, now_ns=now_ns)
        images = [log.apart(item) for item in items]
        items = [item for image in images if isinstance(image, list) for item in image]
        results = log.judge(items)
        labels = {
            number: label
            for number, item in enumerate(items)
            if (label := label_of(item, results[number]))
        }
        recorded = self._record(connection, log.rows, list(labels.values()), counts, now_ns=now_ns)
        for number, label_result in zip(labels, recorded, strict=True):
            results[number] = results[number]._replace(feedback=label_result.status)
        left = iter(zip(items, results, strict=True))
        return counts, [
            joined(list(itertools.islice(left, len(image)))) if isinstance(image, list) else image
            for image in images
        ]

    def _require_registered(self, watched_version_ids: set[int]) -> None:
        for watched_version_id in watched_version_ids - self.versions.keys():
            raise NotRegistered(watched_version_id)

    def _record(
        self,
        connection: Connection,
        rows: Sequence[PredictionRow],
        items: Sequence[FeedbackItem],
        counts: TransactionCounts,
        *,
        now_ns: int,
    ) -> list[FeedbackResult]:
        """Write answers, the labels that waited for them, and labels; return those of `items`."""
        self.slices.begin()
        waited: list[FeedbackItem] = []
        if rows:
            append(connection, rows)
            counts.changes.serve(rows)
            waited = release_pending(connection, rows, self.versions)
        given = [*waited, *items]
        results = self._label(connection, given, counts, now_ns=now_ns) if given else []
        counts.changes.save(connection, self.slices, shard=self.shard)
        return results[len(waited) :]

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
            labels = labeling.first_labels[watched_version_id]
            counts.alarms[watched_version_id] += watch.advance(
                connection,
                watched_version_id,
                labels,
                partial(self._slices_of, connection, watched_version_id),
                last_feedback_id=last_feedback_id,
                now_ns=now_ns,
            )
        return results

    def _slices_of(
        self, connection: Connection, watched_version_id: int, label: FirstLabel
    ) -> tuple[str, ...]:
        keys = SliceKeys(label.predicted, label.tags)
        return self.slices.of(connection, watched_version_id, keys)


def _lock_requests(
    connection: Connection, items: Sequence[FeedbackItem], rows: Sequence[PredictionRow]
) -> None:
    """Keep a label by request id and its answer from missing each other in two processes."""
    if any(item.request_id is not None for item in items):
        lock(connection, Lock.REQUESTS)
    elif any(row.request_id is not None for row in rows):
        share(connection, Lock.REQUESTS)
