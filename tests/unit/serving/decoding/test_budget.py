"""Places and memory are shared out, first come, first served."""

import asyncio

import pytest

from serving.inference.admission import CLIENT, Budget

pytestmark = pytest.mark.anyio


def now() -> float:
    return 0.0


def long() -> float:
    return 60.0


async def test_no_more_is_given_than_there_is() -> None:
    budget = Budget(100)
    async with budget.hold(60, wait_s=now) as first, budget.hold(60, wait_s=now) as second:
        assert (first, second, budget.free) == (True, False, 40)
    async with budget.hold(100, wait_s=now) as whole, budget.hold(1, wait_s=now) as more:
        assert (whole, more) == (True, False)
    async with budget.hold(101, wait_s=long) as never:
        assert not never
    assert budget.free == 100


async def test_it_is_given_back_after_an_error() -> None:
    budget = Budget(100)
    with pytest.raises(KeyError):
        async with budget.hold(100, wait_s=now):
            raise KeyError
    assert budget.free == 100


async def test_a_large_demand_is_not_passed_over_by_small_ones() -> None:
    budget, order = Budget(100), []
    assert await budget.take(60, wait_s=now)

    async def take(size: int, name: str) -> None:
        async with budget.hold(size, wait_s=long) as taken:
            order.append((name, taken))

    tasks = [asyncio.create_task(take(80, "large")), asyncio.create_task(take(10, "small"))]
    await asyncio.sleep(0)
    assert order == []
    budget.give_back(60)
    await asyncio.gather(*tasks)
    assert (order, budget.free) == ([("large", True), ("small", True)], 100)


async def test_who_gives_up_lets_the_next_one_pass() -> None:
    budget = Budget(10)
    assert await budget.take(5, wait_s=now)
    large = asyncio.create_task(budget.take(10, wait_s=long))
    await asyncio.sleep(0)
    small = asyncio.create_task(budget.take(5, wait_s=long))
    await asyncio.sleep(0)
    large.cancel()
    assert await small
    assert large.cancelled()
    assert budget.free == 0


async def test_who_is_cancelled_when_it_is_granted_gives_it_back() -> None:
    budget = Budget(1)
    assert await budget.take(1, wait_s=now)
    waiting = asyncio.create_task(budget.take(1, wait_s=long))
    await asyncio.sleep(0)
    budget.give_back(1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert budget.free == 1


async def test_a_wait_may_grow() -> None:
    budget, limits_s = Budget(1), iter([0.01, 60.0, 60.0])
    assert await budget.take(1, wait_s=now)
    waiting = asyncio.create_task(budget.take(1, wait_s=lambda: next(limits_s)))
    await asyncio.sleep(0.05)
    budget.give_back(1)
    assert await waiting


async def test_the_client_that_holds_least_is_first_then_its_request_that_holds_least() -> None:
    budget, order = Budget(4), []

    async def take(client: str, request: int) -> None:
        CLIENT.set((client, request))
        await budget.take(1, wait_s=long)
        order.append((client, request))

    tasks = [asyncio.create_task(take("a", 1)) for _ in range(6)]
    tasks += [asyncio.create_task(take("a", 2)), asyncio.create_task(take("b", 3))]
    await asyncio.sleep(0)
    CLIENT.set(("a", 1))
    for _ in range(4):
        budget.give_back(1)
        await asyncio.sleep(0)
    assert order[:4] == [("a", 1)] * 4
    assert order[4:6] == [("b", 3), ("a", 2)]
    await asyncio.gather(*tasks)


async def test_a_client_leaves_the_spare_to_others() -> None:
    budget = Budget(3, spare=1)
    assert await budget.take(2, wait_s=now)
    assert not await budget.take(1, wait_s=now)
    waiting = asyncio.create_task(budget.take(1, wait_s=long))
    await asyncio.sleep(0)
    CLIENT.set(("other", 1))
    assert await budget.take(1, wait_s=now)
    assert not waiting.done()
    waiting.cancel()
