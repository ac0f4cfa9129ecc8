"""Batching on the event loop: what it takes together, and that nothing is left behind."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from serving.inference.batcher import PendingRequest
from serving.inference.inline_batcher import InlineBatcher


class Worker:
    """Notes the batches, and fails those with a bad request."""

    def __init__(self) -> None:
        self.batches: list[list[PendingRequest]] = []
        self.failed: list[tuple[list[PendingRequest], Exception]] = []

    def work(self, batch: list[PendingRequest]) -> None:
        self.batches.append(batch)
        if any(request.request_id == "bad" for request in batch):
            raise ValueError("bad batch")

    def fail(self, batch: list[PendingRequest], error: Exception) -> None:
        self.failed.append((batch, error))


def run(
    story: Callable[[InlineBatcher, Callable[..., PendingRequest]], None], *, turns: int = 20
) -> Worker:
    """Let `story` submit requests on an event loop, then let the loop turn."""
    worker = Worker()

    async def scene() -> None:
        loop = asyncio.get_running_loop()

        def request(request_id: str | None = None) -> PendingRequest:
            return PendingRequest(
                np.zeros((1, 2, 2), np.uint8), request_id, 0.0, loop.create_future()
            )

        story(InlineBatcher(worker.work, worker.fail, max_batch=4, loop=loop), request)
        for _ in range(turns):
            await asyncio.sleep(0)

    asyncio.run(scene())
    return worker


def test_a_lone_image_is_inferred_without_a_clock() -> None:
    worker = run(lambda batcher, request: batcher.submit(request("lone")), turns=2)
    assert [[request.request_id for request in batch] for batch in worker.batches] == [["lone"]]


@pytest.mark.parametrize(("count", "sizes"), [(3, [3]), (4, [4]), (7, [4, 3]), (12, [4, 4, 4])])
def test_what_is_there_goes_together_up_to_the_cap_in_order(count: int, sizes: list[int]) -> None:
    def story(batcher: InlineBatcher, request: Callable[..., PendingRequest]) -> None:
        for number in range(count):
            batcher.submit(request(str(number)))

    worker = run(story)
    assert [len(batch) for batch in worker.batches] == sizes
    assert [request.request_id for batch in worker.batches for request in batch] == [
        str(n) for n in range(count)
    ]


def test_a_batch_waits_while_the_sockets_bring_more_but_not_beyond_the_cap() -> None:
    def story(batcher: InlineBatcher, request: Callable[..., PendingRequest]) -> None:
        loop = asyncio.get_running_loop()

        def arrive(number: int) -> None:
            batcher.submit(request(str(number)))
            if number < 5:
                loop.call_soon(arrive, number + 1)

        arrive(0)

    assert [len(batch) for batch in run(story).batches] == [4, 2]


def test_entries_whose_client_has_gone_are_dropped() -> None:
    def story(batcher: InlineBatcher, request: Callable[..., PendingRequest]) -> None:
        gone = request("gone")
        batcher.submit(gone)
        batcher.submit(request("stays"))
        gone.answer.cancel()

    assert [[request.request_id for request in batch] for batch in run(story).batches] == [
        ["stays"]
    ]


def test_a_failing_batch_fails_alone() -> None:
    def story(batcher: InlineBatcher, request: Callable[..., PendingRequest]) -> None:
        for request_id in ("bad", "a", "b", "c", "good"):
            batcher.submit(request(request_id))

    worker = run(story)
    [(failed, error)] = worker.failed
    assert [request.request_id for request in failed] == ["bad", "a", "b", "c"]
    assert str(error) == "bad batch"
    assert [request.request_id for request in worker.batches[1]] == ["good"]
