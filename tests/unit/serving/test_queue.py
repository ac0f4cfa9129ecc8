"""Admission by predicted wait, refusals at a walking pace, and places in turns by client."""

import asyncio
import math

import pytest

from hosting.errors import Overloaded
from hosting.sender import SENDER
from serving.inference.admission import Places, QueueEstimate, RefusalThrottle

pytestmark = pytest.mark.anyio


def test_the_wait_is_the_queue_times_the_service_time() -> None:
    load = QueueEstimate(service_s=0.1, deadline_s=0.6)
    load.waiting = 5
    assert load.wait_s == pytest.approx(0.5)
    load.admit()
    with pytest.raises(Overloaded, match=r"0\.5 s is over the deadline of 0\.4 s"):
        load.admit(0.4)


def test_an_answer_waits_for_those_that_share_its_batch() -> None:
    load = QueueEstimate(service_s=0.01, batch=16)
    for waiting, wait_s in ((0, 0.0), (1, 0.02), (15, 0.3), (16, 0.31), (60, 0.75)):
        load.waiting = waiting
        assert load.wait_s == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("batch", "waiting", "service_s", "seconds"),
    [(1, 5, 1.0, 4), (16, 1, 20.0, 20), (16, 100, 0.1, 10), (16, 3000, 0.01, 30)],
)
def test_whoever_comes_again_when_told_is_let_in(
    batch: int, waiting: int, service_s: float, seconds: int
) -> None:
    load = QueueEstimate(service_s=service_s, batch=batch, deadline_s=1.0)
    load.waiting = waiting
    with pytest.raises(Overloaded) as refused:
        load.admit()
    assert refused.value.retry_after_s == seconds
    load.waiting -= math.floor(seconds / service_s)  # what is answered until then
    load.waiting = max(0, load.waiting)
    load.admit()


def test_without_a_deadline_64_may_wait_however_slow_the_model_is() -> None:
    for service_s in [0.001, 0.03, 0.5, 20.0]:
        for batch in [1, 16, 256]:
            load = QueueEstimate(service_s=service_s, batch=batch)
            for _ in range(64):
                load.admit()
                load.waiting += 1
            while load.wait_s <= 1.0:
                load.admit()
                load.waiting += 1
            with pytest.raises(Overloaded):
                load.admit()


def test_a_client_that_names_a_deadline_is_refused_sooner_and_never_later() -> None:
    load = QueueEstimate(service_s=0.5)
    load.waiting = 10
    load.admit()
    with pytest.raises(Overloaded, match=r"5\.0 s is over the deadline of 2 s"):
        load.admit(2.0)
    load.waiting = 64
    with pytest.raises(Overloaded, match=r"32\.0 s is over the deadline of 31\.5 s"):
        load.admit(1000.0)


def test_an_empty_queue_admits_however_slow_the_last_batch_was() -> None:
    QueueEstimate(service_s=1000).admit(0.001)


def test_a_request_counts_as_waiting_while_it_is_held() -> None:
    load = QueueEstimate()
    with load, load:
        assert load.waiting == 2
    assert load.waiting == 0


def test_the_service_time_follows_what_comes_out() -> None:
    load = QueueEstimate(service_s=1.0, clock_s=0.0)
    for number in range(1, 200):  # 16 images every 0.4 s, always a queue
        load.delivered(16, arrived_s=0.0, now_s=0.4 * number)
    assert load.service_s == pytest.approx(0.4 / 16, rel=0.01)


def test_idle_time_is_not_service_time() -> None:
    load = QueueEstimate(service_s=0.01, clock_s=0.0)
    for number in range(1, 100):  # a lone request every minute that takes 10 ms
        load.delivered(1, arrived_s=60.0 * number, now_s=60.0 * number + 0.01)
    assert load.service_s == pytest.approx(0.01, rel=0.01)


def test_batches_that_one_commit_lets_out_together_are_not_mistaken_for_a_fast_server() -> None:
    load = QueueEstimate(service_s=0.01, clock_s=0.0)
    for number in range(1, 400):  # two batches of 4 leave together every 80 ms
        load.delivered(4, arrived_s=0.0, now_s=0.08 * number)
        load.delivered(4, arrived_s=0.0, now_s=0.08 * number)
    assert load.service_s == pytest.approx(0.01, rel=0.25)


@pytest.mark.anyio
async def test_refusals_are_held_up_to_a_number() -> None:
    pace = RefusalThrottle(hold_s=3600, limit=2)
    held = [asyncio.ensure_future(pace.hold()) for _ in range(2)]
    await asyncio.sleep(0)
    assert pace.held == 2
    assert await pace.hold() is False
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    assert pace.held == 0


@pytest.mark.anyio
async def test_a_held_refusal_is_let_go_in_the_end() -> None:
    assert await RefusalThrottle(hold_s=0, limit=1).hold() is True


def now() -> float:
    return 0.0


def long() -> float:
    return 60.0


async def test_no_more_is_given_than_there_is() -> None:
    places = Places(1)
    async with places.hold(wait_s=now) as first, places.hold(wait_s=now) as second:
        assert (first, second, places.free) == (True, False, 0)
    assert places.free == 1


async def test_it_is_given_back_after_an_error() -> None:
    places = Places(1)
    with pytest.raises(KeyError):
        async with places.hold(wait_s=now):
            raise KeyError
    assert places.free == 1


async def test_who_is_cancelled_when_it_is_granted_gives_it_back() -> None:
    places = Places(1)
    assert await places.take(wait_s=now)
    waiting = asyncio.create_task(places.take(wait_s=long))
    await asyncio.sleep(0)
    places.give_back()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert places.free == 1


async def test_a_wait_may_grow() -> None:
    places, limits_s = Places(1), iter([0.01, 60.0, 60.0])
    assert await places.take(wait_s=now)
    waiting = asyncio.create_task(places.take(wait_s=lambda: next(limits_s)))
    await asyncio.sleep(0.05)
    places.give_back()
    assert await waiting


async def test_the_client_that_holds_least_is_first_then_its_request_that_holds_least() -> None:
    places, order = Places(4), []

    async def take(client: str, request: int) -> None:
        SENDER.set((client, request))
        await places.take(wait_s=long)
        order.append((client, request))

    tasks = [asyncio.create_task(take("a", 1)) for _ in range(6)]
    tasks += [asyncio.create_task(take("a", 2)), asyncio.create_task(take("b", 3))]
    await asyncio.sleep(0)
    SENDER.set(("a", 1))
    for _ in range(4):
        places.give_back()
        await asyncio.sleep(0)
    assert order[:4] == [("a", 1)] * 4
    assert order[4:6] == [("b", 3), ("a", 2)]
    await asyncio.gather(*tasks)


async def test_a_client_leaves_the_spare_to_others() -> None:
    places = Places(3, spare=1)
    assert await places.take(wait_s=now)
    assert await places.take(wait_s=now)
    assert not await places.take(wait_s=now)
    waiting = asyncio.create_task(places.take(wait_s=long))
    await asyncio.sleep(0)
    SENDER.set(("other", 1))
    assert await places.take(wait_s=now)
    assert not waiting.done()
    waiting.cancel()
