"""What waits for the recorder's thread, and how callers learn the result of a commit.

Batches of answers, labels and rare tasks wait. All waiting answers go first and share one commit.
Labels come in bounded portions, so that a list of ten thousand never delays an answer for long.
Callbacks of answers and futures of labels are notified in the writer's thread.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

from monitoring.errors import RecorderClosed
from monitoring.feedback.apart import size_of
from monitoring.feedback.items import FeedbackItem, FeedbackResult
from monitoring.ledger.predictions import PredictionRow
from monitoring.ledger.sum_changes import InputSums

ROWS_AT_ONCE = 4096
LABELS_AT_ONCE = 512  # some 30 ms of work, for which an answer may have to wait
LOGGED_AT_ONCE = 256  # the same of logged predictions, with their labels

Done = Callable[[BaseException | None], None]
_Piece = TypeVar("_Piece")


@dataclass(frozen=True)
class Batch:
    """Answers of one inference. `done` gets None after the commit, else the error."""

    rows: Sequence[PredictionRow]
    done: Done
    inputs: InputSums | None = None


@dataclass(frozen=True)
class Labels:
    """A portion of labels, at most LABELS_AT_ONCE."""

    items: Sequence[FeedbackItem]
    future: Future[list[FeedbackResult]] = field(default_factory=Future)


@dataclass(frozen=True)
class Task:
    """Other work: `run` in a transaction, then `committed` with its result."""

    run: Callable[[Connection], Any]
    committed: Callable[[Any], None]
    future: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True)
class CommitGroup:
    """What goes into one commit."""

    batches: list[Batch]
    labels: list[Labels]

    def split(self) -> "list[CommitGroup]":
        """Return the work in groups of one, to find the piece that is refused."""
        batches = [CommitGroup([batch], []) for batch in self.batches]
        return batches + [CommitGroup([], [labels]) for labels in self.labels]


class WorkQueue:
    """Many threads put, one takes. After `close`, `take` returns what is left, then None."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._labels: deque[Labels] = deque()
        self._tasks: deque[Task] = deque()
        self._arrived = threading.Condition()
        self._closed = False
        self._was_task = False  # whether the last piece taken was a task

    def put(self, *work: Batch | Labels | Task) -> None:
        """Add work. Raises RecorderClosed after `close`."""
        queues: dict[type, deque[Any]] = {
            Batch: self._batches,
            Labels: self._labels,
            Task: self._tasks,
        }
        with self._arrived:
            if self._closed:
                raise RecorderClosed
            for piece in work:
                queues[type(piece)].append(piece)
            self._arrived.notify()

    def take(self, timeout_s: float | None = None) -> CommitGroup | Task | None:
        """Wait for work and return it: tasks and groups in turn if both wait, an empty group after
        `timeout_s`.

        Returns None when the queue is closed and empty.
        """
        with self._arrived:
            self._arrived.wait_for(
                lambda: self._tasks or self._batches or self._labels or self._closed, timeout_s
            )
            group_waits = bool(self._batches or self._labels)
            self._was_task = bool(self._tasks) and not (self._was_task and group_waits)
            if self._was_task:
                return self._tasks.popleft()
            batches = _portion(self._batches, ROWS_AT_ONCE, lambda batch: len(batch.rows))
            labels = _portion(self._labels, LABELS_AT_ONCE, lambda portion: len(portion.items))
            return (
                None if self._closed and not (batches or labels) else CommitGroup(batches, labels)
            )

    def close(self) -> None:
        """Refuse new work; what waits can still be taken."""
        with self._arrived:
            self._closed = True
            self._arrived.notify()


def _portion(queue: deque[_Piece], limit: int, size: Callable[[_Piece], int]) -> list[_Piece]:
    """Take pieces from the front while their sizes add up to at most `limit`, but at least one."""
    taken: list[_Piece] = []
    total = 0
    while queue and (not taken or total + size(queue[0]) <= limit):
        total += size(queue[0])
        taken.append(queue.popleft())
    return taken


_log = logging.getLogger(__name__)


def labels_in_portions(items: Sequence[FeedbackItem]) -> list[Sequence[FeedbackItem]]:
    """Return the items in portions of at most LABELS_AT_ONCE labels, but at least one item."""
    portions: list[list[FeedbackItem]] = []
    room = 0
    for item in items:
        if not portions or room < size_of(item):
            portions.append([])
            room = LABELS_AT_ONCE
        portions[-1].append(item)
        room -= size_of(item)
    return list(portions)


def succeed(group: CommitGroup, results: list[list[FeedbackResult]]) -> None:
    """Notify all who wait for a group of its commit; `results` of each portion of labels."""
    for batch in group.batches:
        call(batch.done, None)
    for portion, result in zip(group.labels, results, strict=True):
        portion.future.set_result(result)


def fail(group: CommitGroup, error: Exception) -> None:
    """Notify everybody who waits for a group that it is not written."""
    for batch in group.batches:
        call(batch.done, error)
    for portion in group.labels:
        portion.future.set_exception(error)


def call(done: Done, error: Exception | None) -> None:
    """Call back; an error in the callback is logged."""
    try:
        done(error)
    except Exception:  # noqa: BLE001 somebody else's code: it must not stop the writer
        _log.exception("a callback of record() failed")


def gather(futures: Sequence[Future[list[FeedbackResult]]]) -> Future[list[FeedbackResult]]:
    """Return one future for all: their results in order, or the first error."""
    gathered: Future[list[FeedbackResult]] = Future()
    left = [len(futures)]

    def one_is_done(_: Future[list[FeedbackResult]]) -> None:  # called in the writer's thread alone
        left[0] -= 1
        if left[0]:
            return
        errors = [error for future in futures if (error := future.exception())]
        if errors:
            gathered.set_exception(errors[0])
        else:
            gathered.set_result([result for future in futures for result in future.result()])

    for future in futures:
        future.add_done_callback(one_is_done)
    if not futures:
        gathered.set_result([])
    return gathered
