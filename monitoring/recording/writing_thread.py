"""The one thread that writes to the ledger.

Everything that waits goes into one commit, answers first, then labels. Callers are notified and
counters move only after the commit. A commit that fails (disk full, database locked) fails for
those who waited for it or, with a spool, sends the answers to the fallback. The thread goes on
either way.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from monitoring.errors import AnswersSpooled
from monitoring.ledger.database import Ledger
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording.fallback import Fallback, is_away
from monitoring.recording.outage import LedgerAway, Outage
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
from monitoring.recording.transaction import Commit

_log = logging.getLogger(__name__)
SLOW_S = 0.5  # a ledger that took longer to fail is left alone until a probe succeeds


class WritingThread:
    """Takes work from a queue until it is closed. `over` is called when an outage is over."""

    def __init__(
        self,
        ledger: Ledger,
        metrics: MonitorMetrics,
        commit: Commit,
        versions: Mapping[int, WatchedVersion],
        *,
        spool: Spool | None,
        over: Callable[[], None],
    ) -> None:
        self._ledger, self._metrics = ledger, metrics
        self._commit, self._versions = commit, versions
        self._queue = WorkQueue()
        self._connection = ledger.writer()
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
                    self._run(work)
                else:  # so that a portion of spooled answers delays an answer once
                    self._take(work)
                    self._fallback.advance()
            except Exception:  # noqa: BLE001 a bug outside any transaction: log it and go on writing
                _log.exception("the recorder failed after a commit")
        self._connection.close()

    def _run(self, task: Task) -> None:
        begun_s = time.monotonic()
        try:
            if self.outage.left_alone:
                raise LedgerAway
            result = self._connection.run(task.run)
            task.committed(result)
        except Exception as error:  # noqa: BLE001 the edge of the thread: the caller gets the error, the thread goes on
            self._note_failure(error, begun_s)
            task.future.set_exception(error)
        else:
            task.future.set_result(result)

    def _take(self, group: CommitGroup) -> None:
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
            counts, results = self._connection.run(
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
        counts = self._connection.run(
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
