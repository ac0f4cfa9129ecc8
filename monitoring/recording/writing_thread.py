"""The one thread that writes to the ledger.

Everything that waits goes into one commit, answers first, then labels, with their sums and
detectors (`GroupWriter`): all or nothing. Callers are notified and
counters move only after the commit. A commit that fails (disk full, database locked) fails for
those who waited for it or, with a spool, sends the answers to the fallback. The thread goes on
either way.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from monitoring.drift import watch
from monitoring.errors import AnswersSpooled, ModelNotInLedger, NotRegistered
from monitoring.feedback.answers import release_pending
from monitoring.feedback.items import FeedbackItem, FeedbackResult, TransactionCounts
from monitoring.feedback.labeling import FeedbackPolicy, FirstLabel, Labeling
from monitoring.ledger.database import Ledger
from monitoring.ledger.locks import Lock, lock, share
from monitoring.ledger.predictions import PredictionRow, absent, append
from monitoring.ledger.sum_changes import add_inputs
from monitoring.ledger.sum_tables import SliceKeys, SliceNames
from monitoring.ledger.versions import of_card
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.logged.items import LoggedItem, LoggedResult, joined, label_of
from monitoring.logged.prediction_log import PredictionLog
from monitoring.metrics.counters import MonitorMetrics
from monitoring.patient_id import PatientKey
from monitoring.recording.fallback import Fallback, LedgerAway, Outage, is_away
from monitoring.recording.queue import (
    Batch,
    CommitGroup,
    Labels,
    Task,
    WorkQueue,
    call,
    fail,
    succeed,
)
from monitoring.recording.spool import Frame, Spool


@dataclass(frozen=True)
class GroupWriter:
    """Writes a group in the transaction of `Writer.run`, which commits.

    `versions`: those known, by id; labels add theirs. `patients`: their key.
    """

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


_log = logging.getLogger(__name__)
SLOW_S = 0.5  # a ledger that took longer to fail is left alone until a probe succeeds


class WritingThread:
    """Takes work from a queue until it is closed. `over` is called when an outage is over."""

    def __init__(
        self,
        ledger: Ledger,
        metrics: MonitorMetrics,
        commit: GroupWriter,
        versions: Mapping[int, WatchedVersion],
        *,
        spool: Spool | None,
        over: Callable[[], None],
    ) -> None:
        self._ledger, self._metrics = ledger, metrics
        self._commit, self._versions = commit, versions
        self._queue = WorkQueue()
        self._writer = ledger.writer()
        self.outage = Outage(ledger.probe, metrics.ledger_away, over=over)
        self._fallback = Fallback(spool, metrics, self.outage, join=self._join)
        self._thread = threading.Thread(target=self._work, name="candor-recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, *work: Batch | Labels | Task) -> None:
        """Raises RecorderClosed."""
        self._queue.put(*work)

    def submit(
        self, run: Callable[[Connection], Any], committed: Callable[[Any], None]
    ) -> Future[Any]:
        """Run within a transaction of its own, and `committed` with the result after it."""
        task = Task(run, committed)
        self._queue.put(task)
        return task.future

    def close(self) -> None:
        """Write everything that waits, then stop. May be called twice."""
        self._queue.close()
        self._thread.join()
        self.outage.close()

    def _work(self) -> None:
        while (work := self._queue.take(self._fallback.wait_s)) is not None:
            try:
                if isinstance(work, Task):
                    self._run_task(work)
                else:  # so that a portion of spooled answers delays an answer once
                    self._write_or_spool(work)
                    self._fallback.advance()
            except Exception:  # noqa: BLE001 a bug outside any transaction: log it and go on writing
                _log.exception("the recorder failed after a commit")
        self._writer.close()

    def _run_task(self, task: Task) -> None:
        begun_s = time.monotonic()
        try:
            if self.outage.left_alone:
                raise LedgerAway
            result = self._writer.run(task.run)
            task.committed(result)
        except Exception as error:  # noqa: BLE001 the edge of the thread: the caller gets the error, the thread goes on
            self._note_failure(error, begun_s)
            task.future.set_exception(error)
        else:
            task.future.set_result(result)

    def _write_or_spool(self, group: CommitGroup) -> None:
        """Write a group, or spool its answers. Labels fail while answers are spooled."""
        if self._fallback.rows and group.labels:
            fail(CommitGroup([], group.labels), AnswersSpooled(self._fallback.rows))
            group = CommitGroup(group.batches, [])
        if self.outage.left_alone:
            self._turn_away(group, LedgerAway())
        elif group.batches or group.labels:
            self._write(group)

    def _write(self, group: CommitGroup) -> None:
        now_ns, begun_s = self._ledger.clock(), time.monotonic()
        try:
            counts, results = self._writer.run(
                lambda connection: self._commit.write(connection, group, now_ns=now_ns)
            )
        except Exception as error:  # noqa: BLE001 the edge of the thread, as above
            parts = group.split()
            if isinstance(error, OperationalError) or len(parts) == 1:
                self._note_failure(error, begun_s)
                _log.error(
                    "a commit failed: %s",
                    error,
                    extra={"batches": len(group.batches), "labels": len(group.labels)},
                )
                self._turn_away(group, error)
                return
            for part in parts:  # one piece is at fault, not the database: write the others
                self._write(part)
            return
        self.outage.reached()
        try:
            self._metrics.count(counts, self._versions)
        finally:
            succeed(group, results)

    def _join(self, frames: Sequence[Frame]) -> None:
        now_ns = self._ledger.clock()
        counts = self._writer.run(
            lambda connection: self._commit.join(connection, frames, now_ns=now_ns)
        )
        self._metrics.count(counts, self._versions)

    def _note_failure(self, error: Exception, begun_s: float) -> None:
        """Begin an outage if the database failed: with a spool nobody waits for another attempt."""
        if is_away(error):
            slow = time.monotonic() - begun_s > SLOW_S
            self.outage.begin(error, left_alone=slow or self._fallback.open)

    def _turn_away(self, group: CommitGroup, error: Exception) -> None:
        """Fail the group, or spool its answers if the database failed and there is a spool."""
        if group.batches and self._fallback.open and is_away(error):
            self._spool(group)
            group = CommitGroup([], group.labels)
        fail(group, error)

    def _spool(self, group: CommitGroup) -> None:
        failed: Exception | None = None
        try:
            self._fallback.take(
                [row for batch in group.batches for row in batch.rows], self._versions
            )
        except Exception as error:  # noqa: BLE001 the edge of the thread, as above
            failed = error
        for batch in group.batches:
            call(batch.done, failed)
