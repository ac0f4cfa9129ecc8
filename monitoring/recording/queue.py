"""What waits for the recorder's thread: batches of answers, labels, and rare tasks.

All waiting answers go first and share one commit. Labels come in bounded portions, so that a list
of ten thousand never delays an answer for long.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

from monitoring.errors import RecorderClosed
from monitoring.feedback.items import FeedbackItem, FeedbackResult
from monitoring.ledger.inputs import InputSums
from monitoring.ledger.predictions import PredictionRow

ROWS_AT_ONCE = 4096
LABELS_AT_ONCE = 2048  # some 30 ms of work, for which an answer may have to wait

Done = Callable[[BaseException | None], None]
_Piece = TypeVar("_Piece")


@dataclass(frozen=True)
class Batch:
    """The answers of one inference. `done` is called with None after the commit, else with the
    error.
    """

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
    """Other work of the writer's thread: `run` in a transaction, then `committed` with its
    result.
    """

    run: Callable[[Connection], Any]
    committed: Callable[[Any], None]
    future: Future[Any] = field(default_factory=Future)


@dataclass(frozen=True)
class CommitGroup:
    """What goes into one commit."""

    batches: list[Batch]
    labels: list[Labels]

    def split(self) -> "list[CommitGroup]":
        """Return the same work in groups of one, to find the piece for which the whole was
        refused.
        """
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
