"""All bodies together stay within the budget: what does not fit waits, then is refused by name."""

import asyncio

import pytest

from monitoring.errors import BodiesFull, BodyTimeout
from monitoring.http.body_budget import (
    FIRST_BYTES,
    LOOK_S,
    SMALL_BYTES,
    WAITING_LIMIT,
    BodyBudget,
    Hold,
)

pytestmark = pytest.mark.anyio
MIB = 2**20


def budget(mib: int = 80, *, wait_s: float = 60) -> BodyBudget:
    return BodyBudget(mib * MIB, wait_s=wait_s)


def arrived(bodies: BodyBudget, length_bytes: int, *, copies: int = 1) -> Hold:
    return bodies.hold(length_bytes, copies=copies, arrived=True)


async def test_what_does_not_fit_waits_for_its_turn_and_never_more_is_held_than_there_is() -> None:
    bodies, most, order = budget(), [0], []

    async def request(number: int, mib: int) -> None:
        async with arrived(bodies, mib * MIB, copies=2):
            most[0] = max(most[0], bodies.held_bytes)
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(request(number, 10) for number in range(20)))
    assert order == list(range(20))
    assert most[0] == 60 * MIB
    assert bodies.held_bytes == 0


async def test_after_the_wait_it_is_refused_by_name() -> None:
    bodies = budget(wait_s=0.001)
    async with arrived(bodies, 70 * MIB):
        with pytest.raises(BodiesFull, match="CANDOR_MAX_BODY_BYTES"):
            async with arrived(bodies, 2 * MIB):
                raise AssertionError
        assert bodies.held_bytes == 70 * MIB
    assert bodies.held_bytes == 0


async def test_a_small_body_passes_large_ones_that_wait() -> None:
    bodies = budget(wait_s=0.01)
    async with arrived(bodies, 70 * MIB):
        waiting = asyncio.create_task(arrived(bodies, 10 * MIB).__aenter__())
        await asyncio.sleep(0)
        async with arrived(bodies, SMALL_BYTES):
            assert bodies.held_bytes == 71 * MIB
        with pytest.raises(BodiesFull):
            await waiting


async def test_who_needs_least_is_first_and_one_that_gives_up_is_in_nobodys_way() -> None:
    bodies = budget()
    async with arrived(bodies, 40 * MIB):
        large, middle, small = (
            asyncio.create_task(arrived(bodies, mib * MIB).__aenter__()) for mib in (60, 35, 20)
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (large.done(), middle.done(), small.done()) == (False, False, True)
        middle.cancel()
        large.cancel()
        await asyncio.gather(middle, large, return_exceptions=True)
        assert bodies.held_bytes == 60 * MIB


@pytest.mark.parametrize("its_turn_came", [True, False])
async def test_a_request_that_is_cancelled_holds_nothing(its_turn_came: bool) -> None:
    bodies = budget()
    first = arrived(bodies, 70 * MIB)
    await first.__aenter__()
    waiting = asyncio.create_task(arrived(bodies, 60 * MIB).__aenter__())
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
    async with arrived(bodies, 70 * MIB):
        waiting = [
            asyncio.create_task(arrived(bodies, 2 * MIB).__aenter__()) for _ in range(WAITING_LIMIT)
        ]
        await asyncio.sleep(0)
        with pytest.raises(BodiesFull):
            await arrived(bodies, 3 * MIB).__aenter__()  # the largest is refused at once
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_body_holds_little_until_it_comes_and_then_all_of_it() -> None:
    bodies = budget()
    async with bodies.hold(10 * MIB, copies=2) as hold:
        assert bodies.held_bytes == 2 * FIRST_BYTES
        await hold.cover(FIRST_BYTES - 1)
        assert bodies.held_bytes == 2 * FIRST_BYTES
        await hold.cover(FIRST_BYTES)
        assert bodies.held_bytes == 20 * MIB
    assert bodies.held_bytes == 0


async def test_a_body_of_unknown_length_is_refused_once_there_is_no_room() -> None:
    bodies = budget(wait_s=0.01)
    async with arrived(bodies, 60 * MIB):
        async with bodies.hold(None, copies=2) as hold:
            await hold.cover(MIB)
            assert bodies.held_bytes == 64 * MIB
            await hold.cover(2 * MIB)
            assert bodies.held_bytes == 66 * MIB
            with pytest.raises(BodiesFull):
                await hold.cover(9 * MIB)
        assert bodies.held_bytes == 60 * MIB


async def read(bodies: BodyBudget, length_bytes: int, *, pause_s: float) -> None:
    """Read a body in parts of 100 KB, with a pause after each."""
    async with bodies.hold(length_bytes) as hold, hold.reading(60, late="late"):
        for received_bytes in range(100_000, length_bytes, 100_000):
            await hold.cover(received_bytes)
            await asyncio.sleep(pause_s)


async def test_a_body_that_comes_too_slowly_is_given_up_once_others_wait() -> None:
    bodies = budget()
    slow = asyncio.create_task(read(bodies, 50 * MIB, pause_s=60))
    fast = asyncio.create_task(read(bodies, 15 * MIB, pause_s=LOOK_S / 20))
    await asyncio.sleep(1.5 * LOOK_S)
    assert (slow.done(), bodies.held_bytes) == (False, 65 * MIB)
    async with arrived(bodies, 40 * MIB):
        with pytest.raises(BodyTimeout):
            await slow
        assert not fast.done()
    await fast
    assert bodies.held_bytes == 0


async def test_what_can_never_fit_takes_all_but_the_share_of_small_ones() -> None:
    bodies = budget()
    async with arrived(bodies, 10**12, copies=3), arrived(bodies, SMALL_BYTES):
        assert bodies.held_bytes == 71 * MIB
