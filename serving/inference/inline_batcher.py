"""Batching by opportunity without a thread, for a light model: two hops between threads take longer than its answer.

The queue is emptied on the event loop, once that has read what all ready connections sent: a lone image is inferred
at once, a crowd in one batch, and one commit of the ledger.
"""

import asyncio
from collections import deque

from serving.inference.batcher import Failed, PendingRequest, Work, run_batch


class InlineBatcher:
    """A queue that the event loop empties between two looks at its sockets. Used on the event loop alone.

    `work` gets 1..max_batch requests and answers for its errors itself; what still escapes is logged and given to
    `failed`.
    """

    def __init__(self, work: Work, failed: Failed, *, max_batch: int, loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._failed = failed
        self._max_batch = max_batch
        self._loop = loop
        self._queue: deque[PendingRequest] = deque()
        self._seen = 0  # requests that were queued at the last look

    def submit(self, request: PendingRequest) -> None:
        """Queue `request`; never blocks."""
        if not self._queue:
            self._loop.call_soon(self._look)
        self._queue.append(request)

    def close(self) -> None:
        """Nothing ends: what is queued is worked off by the loop."""

    def join(self, timeout_s: float | None = None) -> None:
        """Nothing to wait for: there is no thread."""

    def _look(self) -> None:
        """Take a batch when it is full, or when the sockets brought nothing new since the last look."""
        if self._seen < len(self._queue) < self._max_batch:
            self._seen = len(self._queue)
            self._loop.call_soon(self._look)
            return
        self._seen = 0
        taken = [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]
        if self._queue:
            self._loop.call_soon(self._look)
        batch = [request for request in taken if not request.gone]
        if batch:
            run_batch(batch, self._work, self._failed)
