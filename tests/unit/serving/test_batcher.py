"""Batching by opportunity, with threads but without clocks: events say when the worker is busy."""

import asyncio
import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue

import numpy as np
import pytest

from model_store.errors import BrokenImage
from serving.inference.batcher import (
    ARRIVAL_S,
    LONGEST_S,
    PER_IMAGE,
    Batcher,
    BatchingDelay,
    PendingRequest,
)
from tests.builders.processes import PATIENCE_S


class Worker:
    """Stands in for inference: says which batch it got, then waits until it may go on."""

    def __init__(self) -> None:
        self.started: SimpleQueue[list[PendingRequest]] = SimpleQueue()
        self.failed: SimpleQueue[tuple[list[PendingRequest], Exception]] = SimpleQueue()
        self.go_on = threading.Semaphore(0)

    def work(self, batch: list[PendingRequest]) -> None:
        self.started.put(batch)
        self.go_on.acquire()
        if any(request.request_id == "bad" for request in batch):
            raise ValueError("bad batch")

    def fail(self, batch: list[PendingRequest], error: Exception) -> None:
        self.failed.put((batch, error))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def batcher(worker: Worker) -> Iterator[Batcher]:
    batcher = Batcher(worker.work, worker.fail, max_batch=4, name="test")
    yield batcher
    batcher.close()
    worker.go_on.release(100)
    batcher.join(PATIENCE_S)


def request(loop: asyncio.AbstractEventLoop, request_id: str | None = None) -> PendingRequest:
    return PendingRequest(np.zeros((1, 2, 2), np.uint8), request_id, 0.0, loop.create_future())


def test_a_busy_batcher_takes_what_has_queued_up_to_the_cap_in_order(
    batcher: Batcher, worker: Worker, loop: asyncio.AbstractEventLoop
) -> None:
    requests = [request(loop) for _ in range(7)]
    batcher.submit(requests[0])
    worker.started.get(timeout=PATIENCE_S)
    for later in requests[1:]:
        batcher.submit(later)
    worker.go_on.release(2)
    assert worker.started.get(timeout=PATIENCE_S) == requests[1:5]
    assert worker.started.get(timeout=PATIENCE_S) == requests[5:7]


def test_entries_whose_client_has_gone_are_dropped(
    batcher: Batcher, worker: Worker, loop: asyncio.AbstractEventLoop
) -> None:
    first, gone, stays = request(loop), request(loop), request(loop)
    batcher.submit(first)
    worker.started.get(timeout=PATIENCE_S)
    batcher.submit(gone)
    batcher.submit(stays)
    gone.answer.cancel()
    worker.go_on.release()
    assert worker.started.get(timeout=PATIENCE_S) == [stays]


def test_a_failing_batch_fails_alone(
    batcher: Batcher, worker: Worker, loop: asyncio.AbstractEventLoop
) -> None:
    bad, good = request(loop, "bad"), request(loop)
    batcher.submit(bad)
    worker.go_on.release(2)
    failed, error = worker.failed.get(timeout=PATIENCE_S)
    assert failed == [bad]
    assert str(error) == "bad batch"
    batcher.submit(good)
    worker.started.get(timeout=PATIENCE_S)
    assert worker.started.get(timeout=PATIENCE_S) == [good]


def test_closing_works_off_what_is_queued_first(
    worker: Worker, loop: asyncio.AbstractEventLoop
) -> None:
    batcher = Batcher(worker.work, worker.fail, max_batch=4, name="test")
    requests = [request(loop) for _ in range(6)]
    for each in requests:
        batcher.submit(each)
    batcher.close()
    worker.go_on.release(100)
    batcher.join(PATIENCE_S)
    taken: list[PendingRequest] = []
    while not worker.started.empty():
        taken += worker.started.get()
    assert taken == requests


# the inference of one image, for which a batch waits as long as this test does
PATIENT_S = PATIENCE_S / PER_IMAGE


class CountedDelay(BatchingDelay):
    """A long delay of `batcher` that counts how often the thread asks for it."""

    batcher: Batcher

    def __init__(self) -> None:
        super().__init__(PATIENT_S, lambda: self.batcher.submit())
        self.looks = threading.Semaphore(0)

    def left_s(self, images: int, waited_s: float) -> float:
        self.looks.release()
        return super().left_s(images, waited_s)


@pytest.fixture
def delay(monkeypatch: pytest.MonkeyPatch) -> CountedDelay:
    monkeypatch.setattr("serving.inference.batcher.LONGEST_S", PATIENCE_S)
    return CountedDelay()


@pytest.fixture
def waiting(worker: Worker, delay: CountedDelay) -> Iterator[Batcher]:
    delay.batcher = Batcher(worker.work, worker.fail, max_batch=4, name="test", delay=delay)
    yield delay.batcher
    delay.batcher.close()
    worker.go_on.release(100)
    delay.batcher.join(PATIENCE_S)


def test_a_batch_waits_for_an_image_that_is_being_decoded(
    waiting: Batcher, delay: CountedDelay, worker: Worker, loop: asyncio.AbstractEventLoop
) -> None:
    first, second = request(loop), request(loop)
    with delay:
        waiting.submit(first)
        with pytest.raises(Empty):
            worker.started.get(timeout=0.1)
        waiting.submit(second)
    assert worker.started.get(timeout=PATIENCE_S) == [first, second]


def test_an_image_wakes_a_batch_that_waits_for_others_only_if_it_is_the_last(
    waiting: Batcher, delay: CountedDelay, worker: Worker, loop: asyncio.AbstractEventLoop
) -> None:
    requests = [request(loop) for _ in range(3)]
    with delay:
        waiting.submit(requests[0])
        assert delay.looks.acquire(timeout=PATIENCE_S)
        waiting.submit(requests[1])
        waiting.submit(requests[2])
        assert not delay.looks.acquire(timeout=0.1)
    assert worker.started.get(timeout=PATIENCE_S) == requests


def test_a_full_batch_does_not_wait(
    waiting: Batcher, delay: CountedDelay, worker: Worker, loop: asyncio.AbstractEventLoop
) -> None:
    requests = [request(loop) for _ in range(4)]
    with delay:
        for each in requests:
            waiting.submit(each)
        assert worker.started.get(timeout=PATIENCE_S / 2) == requests


def test_a_batch_waits_no_longer_once_what_it_waits_for_was_broken(
    waiting: Batcher, delay: CountedDelay, worker: Worker, loop: asyncio.AbstractEventLoop
) -> None:
    lone = request(loop)
    delay.__enter__()
    waiting.submit(lone)
    delay.__exit__(BrokenImage, BrokenImage("cut short"), None)
    assert worker.started.get(timeout=PATIENCE_S / 2) == [lone]


def test_the_delay_grows_with_what_waits_and_is_bounded() -> None:
    delay = BatchingDelay(0.01, lambda: None)
    assert delay.left_s(3, 0.0) == 0.0  # nothing is coming
    with delay:
        assert delay.left_s(0, 0.0) == 0.0  # nothing waits
        assert delay.left_s(3, 0.01) == pytest.approx(0.05)
        assert delay.left_s(3, 1.0) == 0.0
    slow = BatchingDelay(0.5, lambda: None)
    with slow:
        assert slow.left_s(3, 0.0) == LONGEST_S


def test_a_batch_waits_but_a_moment_for_bodies_that_are_read() -> None:
    delay = BatchingDelay(0.0001, lambda: None)
    with delay.arrival():
        assert delay.left_s(1, 0.0) == ARRIVAL_S
        assert delay.left_s(16, ARRIVAL_S) == 0.0  # however much waits: a body may never come
    assert delay.left_s(1, 0.0) == 0.0


class Moments(BatchingDelay):
    """A nanosecond is left at every other look."""

    def __init__(self) -> None:
        super().__init__(1.0, lambda: None)
        self._looks = 0

    def left_s(self, images: int, waited_s: float) -> float:
        self._looks += 1
        return 1e-9 * (self._looks % 2)


def test_a_wait_of_a_nanosecond_ends(worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
    """An image queued while its thread was busy once waited for the next image."""
    batcher = Batcher(worker.work, worker.fail, max_batch=4, name="test", delay=Moments())
    batcher.submit(request(loop))
    for _ in range(5_000):
        assert worker.started.get(timeout=PATIENCE_S)
        batcher.submit(request(loop))
        worker.go_on.release()
    batcher.close()
    worker.go_on.release(100)
    batcher.join(PATIENCE_S)
