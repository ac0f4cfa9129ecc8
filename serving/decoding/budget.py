"""A number of things that are shared out, places or bytes of memory, in turns by client."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeAlias

Client: TypeAlias = tuple[str, int]
# Who is answered in this context: the token's name or the address, and a number of the request.
CLIENT: Final[ContextVar[Client]] = ContextVar("client", default=("", 0))


@dataclass(frozen=True, slots=True, eq=False)
class _Demand:
    count: int
    client: Client
    turn: "asyncio.Future[bool]"


class Budget:
    """`capacity` things, from which tasks take some.

    First served is the client that holds least, of its requests the one that holds least, and of
    equals who came first. A large demand is not passed over by what comes after it.
    """

    def __init__(self, capacity: int, *, spare: int = 0) -> None:
        """`spare`: how many a client always leaves to others."""
        self.capacity = self.free = capacity
        self._most = capacity - spare
        self._waiting: list[_Demand] = []
        self._held: Counter[str | Client] = Counter()

    async def take(self, count: int, *, wait_s: Callable[[], float]) -> bool:
        """Take `count`, and give them back with `give_back`, both in the context of CLIENT.

        False: they were not free in time, or never can be. `wait_s` says how long to wait in
        seconds; it is asked again, because it may grow meanwhile.
        """
        if count > self._most:
            return False
        loop = asyncio.get_running_loop()
        demand = _Demand(count, CLIENT.get(), loop.create_future())
        self._waiting.append(demand)
        if self._fits(demand):  # else none does that did not fit before
            self._share_out()
        if demand.turn.done():
            return True
        since_s = loop.time()
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            """Give up once the wait is over, which may have grown meanwhile."""
            nonlocal timer
            left_s = since_s + wait_s() - loop.time()
            if left_s > 0:
                timer = loop.call_later(left_s, look)
            elif not demand.turn.done():
                demand.turn.set_result(False)

        timer = loop.call_later(wait_s(), look)
        try:
            return await demand.turn
        except asyncio.CancelledError:
            if not demand.turn.cancelled() and demand.turn.result():
                self.give_back(count)
            raise
        finally:
            timer.cancel()
            if demand in self._waiting:
                self._waiting.remove(demand)
                self._share_out()

    def give_back(self, count: int) -> None:
        self._hold(CLIENT.get(), -count)
        self._share_out()

    @asynccontextmanager
    async def hold(self, count: int, *, wait_s: Callable[[], float]) -> AsyncIterator[bool]:
        """`take` meanwhile."""
        taken = await self.take(count, wait_s=wait_s)
        try:
            yield taken
        finally:
            if taken:
                self.give_back(count)

    def _hold(self, client: Client, count: int) -> None:
        self.free -= count
        for holder in (client, client[0]):
            self._held[holder] += count
            if not self._held[holder]:
                del self._held[holder]

    def _share_out(self) -> None:
        while self._waiting:
            first = min(self._waiting, key=self._share_of)
            if not first.turn.done():
                if not self._fits(first):
                    return
                self._hold(first.client, first.count)
                first.turn.set_result(True)
            self._waiting.remove(first)

    def _fits(self, demand: _Demand) -> bool:
        share, _ = self._share_of(demand)
        return demand.count <= min(self.free, self._most - share)

    def _share_of(self, demand: _Demand) -> tuple[int, int]:
        """What its client and its request hold."""
        held = self._held.get  # a Counter itself is slow about what it does not hold
        return held(demand.client[0], 0), held(demand.client, 0)
