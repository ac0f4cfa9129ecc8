"""Places are given in turns by client, first come, first served."""

import asyncio

import pytest

from hosting.sender import SENDER
from serving.inference.admission import Places

pytestmark = pytest.mark.anyio


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
