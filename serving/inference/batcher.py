"""Batching by opportunity: a thread that takes what has queued, never waits for more.

An idle thread runs a lone image at once; a busy one finds the queue filled when it comes back, and takes up
to `max_batch`. So a lone request pays nothing for batching and a crowd gets all of it. One thread hop carries
a whole batch back (see version.py).
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from serving.inference.priority import lower_priority

logger = logging.getLogger(__name__)

Image: TypeAlias = npt.NDArray[np.uint8]


class AnswerWriter(Protocol):
    """How an answer is written, in the inference thread."""

    def write(self, prediction_id: str, request_id: str | None, predicted: int, values: Sequence[float]) -> Any:
        """The answer for one image whose probabilities are `values` (K), the largest being `values[predicted]`."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One decoded image on its way: (C, H, W), its arrival on the perf_counter clock, and the future of its answer.

    The answer is what `writer` makes of it; without one it is the JSON of POST /predictions. Its prediction id is
    `given_id` from then on. `shadow_of` is the id of the answer that another version gave, for one in its shadow.
    """

    image: Image
    request_id: str | None
    arrived_s: float
    answer: "asyncio.Future[Any]"
    writer: AnswerWriter | None = None
    tags: str | None = None
    shadow_of: bytes | None = None
    given_id: bytes = b""

    @property
    def gone(self) -> bool:
        """Whether the client has hung up (the endpoint then cancels the future); read from the inference thread."""
        return self.answer.cancelled()


Work: TypeAlias = Callable[[list[PendingRequest]], None]
Failed: TypeAlias = Callable[[list[PendingRequest], Exception], Any]


def run_batch(batch: list[PendingRequest], work: Work, failed: Failed) -> None:
    """Do the work; an error fails this batch alone, and the server lives on."""
    try:
        work(batch)
    except Exception as error:  # the edge of a thread, or of the event loop
        logger.exception("batch failed", extra={"fields": {"images": len(batch)}})
        failed(batch, error)


class Batcher:
    """A queue and the one thread that empties it.

    `work` gets 1..max_batch requests in that thread, and answers for its errors itself; what still escapes is
    logged and given to `failed`, so that the thread outlives any batch. In the `background` it has the lowest priority.
    """

    def __init__(
        self,
        work: Work,
        failed: Failed,
        *,
        max_batch: int,
        name: str,
        background: bool = False,
    ) -> None:
        self._work = work
        self._failed = failed
        self._max_batch = max_batch
        self._background = background
        # None is the end: requests queued before it are worked off first.
        self._queue: SimpleQueue[PendingRequest | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def submit(self, request: PendingRequest) -> None:
        """Queue `request`; never blocks."""
        self._queue.put(request)

    def close(self) -> None:
        """Let the thread end after what is queued; returns at once."""
        self._queue.put(None)

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    def _loop(self) -> None:
        if self._background:
            lower_priority()
        open_ = True
        while open_:
            batch, open_ = self._take()
            if batch:
                run_batch(batch, self._work, self._failed)

    def _take(self) -> tuple[list[PendingRequest], bool]:
        """Wait for one request, then take what else is there, less those whose client has gone; False at the end."""
        batch: list[PendingRequest] = []
        request = self._queue.get()
        while request is not None:
            if not request.gone:
                batch.append(request)
                if len(batch) == self._max_batch:
                    return batch, True
            try:
                request = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False
