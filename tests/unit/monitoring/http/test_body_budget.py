"""All bodies together stay within the budget: what does not fit waits, then is refused by name."""

import asyncio

import pytest

from monitoring.errors import BodiesFull
from monitoring.http.body_budget import SMALL_BYTES, WAITING_LIMIT, BodyBudget

pytestmark = pytest.mark.anyio
MIB = 2**20


def budget(mib: int = 80, *, wait_s: float = 60) -> BodyBudget:
    return BodyBudget(mib * MIB, wait_s=wait_s)


async def test_what_does_not_fit_waits_for_its_turn_and_never_more_is_held_than_there_is() -> None:
    bodies, most, order = budget(), [0], []

    async def request(number: int, mib: int) -> None:
        async with bodies.hold(mib * MIB, copies=2):
            most[0] = max(most[0], bodies.held_bytes)
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(request(number, 10) for number in range(20)))
    assert order == list(range(20))
    assert most[0] == 60 * MIB
    assert bodies.held_bytes == 0


async def test_after_the_wait_it_is_refused_by_name() -> None:
    bodies = budget(wait_s=0.001)
    async with bodies.hold(70 * MIB):
        with pytest.raises(BodiesFull, match="CANDOR_BODY_MEMORY_BYTES"):
            async with bodies.hold(2 * MIB):
                raise AssertionError
        assert bodies.held_bytes == 70 * MIB
    assert bodies.held_bytes == 0


async def test_a_small_body_passes_large_ones_that_wait() -> None:
    bodies = budget(wait_s=0.01)
    async with bodies.hold(70 * MIB):
        waiting = asyncio.create_task(bodies.hold(10 * MIB).__aenter__())
        await asyncio.sleep(0)
        async with bodies.hold(SMALL_BYTES):
            assert bodies.held_bytes == 71 * MIB
        with pytest.raises(BodiesFull):
            await waiting


async def test_one_that_gives_up_lets_those_behind_it_pass() -> None:
    bodies = budget()
    async with bodies.hold(40 * MIB):
        large = asyncio.create_task(bodies.hold(60 * MIB).__aenter__())
        await asyncio.sleep(0)
        behind = asyncio.create_task(bodies.hold(20 * MIB).__aenter__())
        await asyncio.sleep(0)
        large.cancel()
        await behind
        assert bodies.held_bytes == 60 * MIB


@pytest.mark.parametrize("its_turn_came", [True, False])
async def test_a_request_that_is_cancelled_holds_nothing(its_turn_came: bool) -> None:
    bodies = budget()
    first = bodies.hold(70 * MIB)
    await first.__aenter__()
    waiting = asyncio.create_task(bodies.hold(60 * MIB).__aenter__())
    await asyncio.sleep(0)
    if its_turn_came:
        await first.__aexit__()
        waiting.cancel()
    else:
        waiting.cancel()
        await first.__aexit__()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert bodies.held_bytes == 0


async def test_only_so_many_wait() -> None:
    bodies = budget()
    async with bodies.hold(70 * MIB):
        waiting = [
            asyncio.create_task(bodies.hold(2 * MIB).__aenter__()) for _ in range(WAITING_LIMIT)
        ]
        await asyncio.sleep(0)
        with pytest.raises(BodiesFull):
            await bodies.hold(2 * MIB).__aenter__()
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_body_of_unknown_length_is_refused_once_there_is_no_room() -> None:
    bodies = budget()
    async with bodies.hold(60 * MIB):
        async with bodies.hold(None, copies=2) as hold:
            hold.cover(MIB)
            assert bodies.held_bytes == 62 * MIB
            hold.cover(2 * MIB)
            assert bodies.held_bytes == 66 * MIB
            with pytest.raises(BodiesFull):
                hold.cover(9 * MIB)
        assert bodies.held_bytes == 60 * MIB


async def test_what_can_never_fit_takes_all_but_the_share_of_small_ones() -> None:
    bodies = budget()
    async with bodies.hold(10**12, copies=3), bodies.hold(SMALL_BYTES):
        assert bodies.held_bytes == 71 * MIB
