"""A number of things that are shared out, first come, first served: places, or bytes of memory."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Budget:
    """`capacity` things, from which tasks take some. A large demand is not passed over."""

    def __init__(self, capacity: int) -> None:
        self.capacity = self.free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, count: int, *, wait_s: Callable[[], float]) -> bool:
        """Take `count`, and give them back with `give_back`.

        False: they were not free in time, or never can be. `wait_s` says how long to wait in
        seconds; it is asked again, because it may grow meanwhile.
        """
        if count > self.capacity:
            return False
        if not self._waiting and count <= self.free:
            self.free -= count
            return True
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        since_s = time.perf_counter()
        try:
            while not turn.done() and (left_s := since_s + wait_s() - time.perf_counter()) > 0:
                await asyncio.wait((turn,), timeout=left_s)
        except BaseException:
            if turn.done():
                self.give_back(count)
            raise
        finally:
            if not turn.done():
                turn.cancel()
                self._share_out()
        return not turn.cancelled()

    def give_back(self, count: int) -> None:
        """Give back what was taken."""
        self.free += count
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

    def _share_out(self) -> None:
        while self._waiting:
            count, turn = self._waiting[0]
            if not turn.cancelled():
                if count > self.free:
                    return
                self.free -= count
                turn.set_result(None)
            self._waiting.popleft()
