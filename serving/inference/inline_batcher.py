"""Opportunistic batching without a thread, for a light model: two thread hops would take longer
than its inference.

The event loop empties the queue after it has read from all ready connections. So a single image is
inferred at once, and many become one batch and one commit of the ledger.
"""

import asyncio
from collections import deque

from serving.inference.batcher import Failed, PendingRequest, Work, run_batch


class InlineBatcher:
    """A queue that the event loop empties between two polls of its sockets. Use it on the event
    loop only.

    `work` gets 1 to `max_batch` requests. An error that it raises is logged and passed to `failed`.
    """

    def __init__(
        self, work: Work, failed: Failed, *, max_batch: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._work = work
        self._failed = failed
        self._max_batch = max_batch
        self._loop = loop
        self._queue: deque[PendingRequest] = deque()
        self._seen = 0  # requests in the queue at the last poll

    def submit(self, request: PendingRequest) -> None:
        """Queue `request`. Never blocks."""
        if not self._queue:
            self._loop.call_soon(self._poll)
        self._queue.append(request)

    def close(self) -> None:
        """Do nothing: the loop answers what is queued."""

    def join(self, timeout_s: float | None = None) -> None:
        """Do nothing: there is no thread."""

    def _poll(self) -> None:
        """Take a batch once it is full, or once no new request has arrived since the last poll."""
        if self._seen < len(self._queue) < self._max_batch:
            self._seen = len(self._queue)
            self._loop.call_soon(self._poll)
            return
        self._seen = 0
        taken = [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]
        if self._queue:
            self._loop.call_soon(self._poll)
        batch = [request for request in taken if not request.gone]
        if batch:
            run_batch(batch, self._work, self._failed)
