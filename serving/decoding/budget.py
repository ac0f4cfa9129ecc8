"""A number of things that are shared out, first come, first served: places, or bytes of memory."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Budget:
    """`capacity` things, from which tasks take some. A large demand is not passed over."""

    def __init__(self, capacity: int) -> None:
        self.capacity = self.free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[bool]]] = deque()

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
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        since_s = loop.time()
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            """Give up once the wait is over, which may have grown meanwhile."""
            nonlocal timer
            left_s = since_s + wait_s() - loop.time()
            if left_s > 0:
                timer = loop.call_later(left_s, look)
            elif not turn.done():
                turn.set_result(False)

        timer = loop.call_later(wait_s(), look)
        self._waiting.append((count, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():
                self.give_back(count)
            raise
        finally:
            timer.cancel()
            self._share_out()

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
            if not turn.done():
                if count > self.free:
                    return
                self.free -= count
                turn.set_result(True)
            self._waiting.popleft()
