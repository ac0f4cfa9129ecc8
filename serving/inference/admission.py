"""Admission control: a request is admitted if its answer is predicted within the deadline, before
its body is read.

Without CANDOR_DEADLINE_S the deadline follows the model: what WAITING_ROOM waiting images need, or
one second if that is more. So a burst is answered however slow the model is. A client that cannot
wait so long names its own deadline.

Under overload, refusing at once makes things worse. Refused clients retry at once, and thousands of
refusals per second take processor time from admitted requests. So a refusal is delayed by a timer,
and the number of delayed refusals is limited.

The places of decoding go in turns by client (`Places`).
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from hosting.errors import Overloaded
from hosting.sender import SENDER, Sender

# Weight of the newest batch in the running means: about the last ten batches count.
RECENT = 0.2
WAITING_ROOM: Final = 64  # images that may always wait, if no deadline is set
LEAST_DEADLINE_S: Final = 1.0


class QueueEstimate:
    """Predicts how long a new request would wait. Use it from one thread; `with queue:` counts one
    as waiting.

    `service_s` is measured at delivery, from the later of the last delivery and the arrival of the
    batch. So it covers the slowest stage (inference or ledger) and excludes idle time.
    """

    def __init__(
        self,
        *,
        service_s: float = 0.0,
        batch: int = 1,
        deadline_s: float | None = None,
        clock_s: float | None = None,
    ) -> None:
        """`service_s`: first estimate for an image. `batch`: the largest. `deadline_s`: set."""
        self.waiting = 0
        self._set_s = deadline_s
        self._batch = batch
        self._mean_elapsed_s = service_s
        self._mean_images = 1.0
        self._last_s = time.perf_counter() if clock_s is None else clock_s

    def __enter__(self) -> None:
        self.waiting += 1

    def __exit__(self, *_: object) -> None:
        self.waiting -= 1

    @property
    def service_s(self) -> float:
        """Seconds per image, averaged over recent batches."""
        return self._mean_elapsed_s / self._mean_images

    @property
    def wait_s(self) -> float:
        """Seconds until the answer to a request that arrives now, with its batch."""
        return self._wait_s(self.waiting)

    @property
    def deadline_s(self) -> float:
        """The longest wait that is admitted, in seconds."""
        return (
            max(LEAST_DEADLINE_S, self._wait_s(WAITING_ROOM - 1))
            if self._set_s is None
            else self._set_s
        )

    def _wait_s(self, waiting: int) -> float:
        return (waiting + min(waiting, self._batch - 1)) * self.service_s

    def delivered(self, images: int, *, arrived_s: float, now_s: float) -> None:
        """Record a delivery at `now_s`; the oldest image arrived at `arrived_s` (perf_counter)."""
        elapsed_s = now_s - max(self._last_s, arrived_s)
        self._mean_elapsed_s += RECENT * (elapsed_s - self._mean_elapsed_s)
        self._mean_images += RECENT * (images - self._mean_images)
        self._last_s = now_s

    def admit(self, asked_s: float | None = None) -> None:
        """Raise Overloaded if a new request would wait longer than the deadline or `asked_s`."""
        deadline_s = self.deadline_s if asked_s is None else min(asked_s, self.deadline_s)
        if self.wait_s > deadline_s:
            raise Overloaded(
                wait_s=self.wait_s, deadline_s=deadline_s, clears_s=self._clears_s(deadline_s)
            )

    def _clears_s(self, deadline_s: float) -> float:
        """Seconds until one more is admitted: `wait_s` solved for the number that waits."""
        room = deadline_s / self.service_s
        return (self.waiting - max(room - (self._batch - 1), room / 2)) * self.service_s


class RefusalThrottle:
    """Delays refusals by `hold_s` seconds, at most `limit` at a time."""

    def __init__(self, *, hold_s: float, limit: int) -> None:
        self._hold_s = hold_s
        self._limit = limit
        self.held = 0

    async def hold(self) -> bool:
        """Wait `hold_s`. False, at once: too many wait; the connection should be closed."""
        if self.held >= self._limit:
            return False
        self.held += 1
        try:
            await asyncio.sleep(self._hold_s)
        finally:
            self.held -= 1
        return True


@dataclass(frozen=True, slots=True, eq=False)
class _Demand:
    client: Sender
    turn: "asyncio.Future[bool]"


class Places:
    """`capacity` places, of which tasks take one each.

    First served is the client that holds least, of its requests the one that holds least, and of
    equals who came first.
    """

    def __init__(self, capacity: int, *, spare: int = 0) -> None:
        """`spare`: how many a client always leaves to others."""
        self.capacity = self.free = capacity
        self._most = capacity - spare
        self._waiting: list[_Demand] = []
        self._held: Counter[str | Sender] = Counter()

    async def take(self, *, wait_s: Callable[[], float]) -> bool:
        """Take one, and give it back with `give_back`, both in the context of SENDER.

        False: none was free in time. `wait_s` says how long to wait in seconds; it is asked again,
        because it may grow meanwhile.
        """
        loop = asyncio.get_running_loop()
        demand = _Demand(SENDER.get(), loop.create_future())
        self._waiting.append(demand)
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
                self.give_back()
            raise
        finally:
            timer.cancel()
            if demand in self._waiting:
                self._waiting.remove(demand)

    def give_back(self) -> None:
        self._hold(SENDER.get(), -1)
        self._share_out()

    @asynccontextmanager
    async def hold(self, *, wait_s: Callable[[], float]) -> AsyncIterator[bool]:
        """`take` meanwhile."""
        taken = await self.take(wait_s=wait_s)
        try:
            yield taken
        finally:
            if taken:
                self.give_back()

    def _hold(self, client: Sender, count: int) -> None:
        self.free -= count
        for holder in (client, client[0]):
            self._held[holder] += count
            if not self._held[holder]:
                del self._held[holder]

    def _share_out(self) -> None:
        while self.free and self._waiting:
            first = min(self._waiting, key=self._share_of)
            if not first.turn.done():
                if self._share_of(first)[0] >= self._most:
                    return
                self._hold(first.client, 1)
                first.turn.set_result(True)
            self._waiting.remove(first)

    def _share_of(self, demand: _Demand) -> tuple[int, int]:
        """What its client and its request hold."""
        held = self._held.get  # a Counter itself is slow about what it does not hold
        return held(demand.client[0], 0), held(demand.client, 0)
