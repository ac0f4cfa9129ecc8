"""Opportunistic batching: a thread infers whatever is in its queue, and waits only for images that
are being decoded, and for a moment for those whose body is being read.

An idle thread runs a single image at once. A busy one finds several images when it is done and
takes up to `max_batch`. So batching delays no single request and serves many at once. One thread
hop returns a whole batch (served_version.py).
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from model_store import kernel
from serving.inference.prediction import ScopeVerdict
from serving.inference.run_watch import MEMORY

logger = logging.getLogger(__name__)

PER_IMAGE: Final = 2.0  # times the inference of one image, for each image that waits
LONGEST_S: Final = 0.25
# Clients that were answered together ask again together, but their requests come one by one.
ARRIVAL_S: Final = 0.002
LOWEST: Final = 19  # priority

Image: TypeAlias = npt.NDArray[np.uint8]


class AnswerWriter(Protocol):
    """Writes an answer, in the inference thread."""

    def write(
        self, prediction_id: str, request_id: str | None, values: Sequence[float], by: Any
    ) -> Any:
        """The answer for one image with probabilities `values`, (K,), that `by` has calibrated:
        an AnswerCalibrator or a FindingsCalibrator, as the card has it.
        """

    def scoped(self, answer: Any, verdict: ScopeVerdict) -> Any:
        """The answer with what the scope check says of its image, or OutOfScope in its place."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One decoded image, (C, H, W), its arrival time by perf_counter, and the future of its answer.

    `writer` writes the answer; without one it is the JSON of POST /predictions. `given_id` is the
    prediction id, once there is one; it ends with `mark` (retries.py). `inference` is when it began
    and ended by perf_counter. `shadow_of` is the id of the production version's answer, for a
    request to a shadow.
    """

    image: Image
    request_id: str | None
    arrived_s: float
    answer: asyncio.Future[Any]
    writer: AnswerWriter | None = None
    tags: str | None = None
    patient: str | None = None
    shadow_of: bytes | None = None
    given_id: bytes = b""
    mark: bytes = b""
    inference: tuple[float, float] | None = None

    @property
    def gone(self) -> bool:
        """Whether the client has gone, which cancels the future. Read in another thread."""
        return self.answer.cancelled()


@dataclass(slots=True, eq=False)
class FinishedBatch:
    """An inferred batch. An answer is None if the model's output for that image is not a number."""

    requests: list[PendingRequest]
    answers: list[Any | None]
    inference_s: float


Work: TypeAlias = Callable[[list[PendingRequest]], None]
Failed: TypeAlias = Callable[[list[PendingRequest], Exception], Any]


class BatchingDelay:
    """How long a batch waits for images that are being decoded, `with delay:` around each, or whose
    body is being read, `with delay.arrival():`, on the event loop. The inference thread asks
    `left_s`.

    Decoding and inference want the same cores. If a batch begins as soon as one image is decoded,
    it is small, costs more for each image, and slows the decoding of the others down. A body may
    never come, so that a batch waits for bodies ARRIVAL_S at most.
    """

    def __init__(self, one_image_s: float, over: Callable[[], object]) -> None:
        """`one_image_s`: inference of one image, seconds. `over`: called when none is decoded."""
        self._one_image_s = one_image_s
        self._over = over
        self.coming = 0  # images that are being decoded
        self.arriving = 0  # requests whose body is being read

    @contextmanager
    def arrival(self) -> Iterator[None]:
        """Read the body of a request within it."""
        self.arriving += 1
        try:
            yield
        finally:
            self.arriving -= 1

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to wait for."""
        return not (self.coming or self.arriving)

    def __enter__(self) -> None:
        self.coming += 1

    def __exit__(self, *_: object) -> None:
        self.coming -= 1
        if not self.coming:
            self._over()

    def left_s(self, images: int, waited_s: float) -> float:
        """Seconds that `images`, after `waited_s`, still wait; 0 if nothing is to come."""
        longest_s = ARRIVAL_S if self.arriving and images else 0.0
        if self.coming:
            longest_s = max(longest_s, min(PER_IMAGE * self._one_image_s * images, LONGEST_S))
        return max(0.0, longest_s - waited_s)


class Batcher:
    """A queue and the thread that empties it.

    `work` gets 1 to `max_batch` requests in that thread. An error that it raises is logged and
    passed to `failed`, and the thread goes on. If that returns True, each request is tried alone.
    `delay` says how long a batch waits for others. With `background` the thread has the lowest
    priority.
    """

    def __init__(
        self,
        work: Work,
        failed: Failed,
        *,
        max_batch: int,
        name: str,
        delay: BatchingDelay | None = None,
        background: bool = False,
    ) -> None:
        self._work = work
        self._failed = failed
        self._delay = delay or BatchingDelay(0.0, lambda: None)
        self._max_batch = max_batch
        self._background = background
        # None ends the thread, after the requests that were queued before it. Never with a timeout:
        # before Python 3.13, get() may wait for ever where that is short.
        self._queue: SimpleQueue[PendingRequest | None] = SimpleQueue()
        self._complete = threading.Event()  # for a batch that waits: no image is coming, or it is
        self._room = max_batch  # full, with so many more
        self._running: list[PendingRequest] = []
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def submit(self, *requests: PendingRequest) -> None:
        """Queue `requests`. A batch that waits goes on if it is full now, or the delay is over.
        Never blocks.
        """
        for request in requests:
            self._queue.put(request)
        if self._delay.is_over or self._queue.qsize() >= self._room:
            self._complete.set()

    def close(self) -> None:
        """Let the thread end after the queued requests. Returns at once."""
        self._queue.put(None)
        self._complete.set()

    def abandon(self) -> list[PendingRequest]:
        """The requests of the running batch and those that are queued, which no longer are."""
        abandoned: list[PendingRequest] = list(self._running)
        closed = False
        with suppress(Empty):
            while True:
                request = self._queue.get_nowait()
                closed |= request is None
                abandoned += [request] if request is not None else []
        if closed:
            self.close()
        return abandoned

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the thread to end; return whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        if self._background:
            lower_priority()
        open_ = True
        while open_:
            batch, open_ = self._take()
            if batch:
                self._run(batch)
        MEMORY.return_unused()

    def _run(self, batch: list[PendingRequest]) -> None:
        self._running = batch
        self._try(batch)
        self._running = []

    def _try(self, batch: list[PendingRequest]) -> None:
        try:
            self._work(batch)
        except Exception as error:  # the edge of the thread: an error fails this batch only
            logger.exception("batch failed", extra={"fields": {"images": len(batch)}})
            if self._failed(batch, error) and len(batch) > 1:
                for request in batch:
                    self._try([request])

    def _take(self) -> tuple[list[PendingRequest], bool]:
        """Wait for a request, then take all that are queued or coming, except those whose client
        has gone.

        False: the end.
        """
        batch: list[PendingRequest] = []
        request = self._queue.get()
        since_s = time.perf_counter()
        while request is not None:
            if not request.gone:
                batch.append(request)
                if len(batch) == self._max_batch:
                    return batch, True
            try:
                request = self._next(len(batch), since_s)
            except Empty:
                return batch, True
        return batch, False

    def _next(self, images: int, since_s: float) -> PendingRequest | None:
        """The next for a batch of `images` that waits since `since_s`. Raises Empty."""
        self._room = self._max_batch - images
        while True:
            self._complete.clear()
            left_s = self._delay.left_s(images, time.perf_counter() - since_s)
            if not left_s or not self._queue.empty():
                return self._queue.get_nowait()
            self._complete.wait(left_s)


def stacked(requests: list[PendingRequest]) -> npt.NDArray[np.uint8]:
    """The images as one array, (N, C, H, W); a single image is not copied."""
    if len(requests) == 1:
        return requests[0].image[np.newaxis]
    return np.stack([request.image for request in requests])


def lower_priority() -> None:
    """Give the calling thread the lowest priority, on Linux, where each has its own."""
    if kernel.ENFORCES:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
