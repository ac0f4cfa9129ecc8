"""The memory of all request bodies together: what does not fit waits for a moment, or is refused,
before it is read.

A body is held until its request is answered, at the cost of what is made of it: texts, decoded
images, and their copy in a decoding process. Before its first byte it holds FIRST_BYTES, and all of
its length once so much has arrived, so a body that never comes holds little. While others wait, a
body that comes at less than PACE_BYTES a second is given up. One event loop uses a budget, so it
needs no lock.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self

from monitoring.errors import BodiesFull, BodyCompressed, BodyTimeout

DEFAULT_BYTES: Final = 256 * 2**20
SMALL_BYTES: Final = 2**20  # bodies of up to this cost pass those that wait
SMALL_SHARE: Final = 8  # and an eighth of the budget is theirs alone
WAITING_LIMIT: Final = 128
FIRST_BYTES: Final = 64 * 2**10
STEP_BYTES: Final = 2**20  # by which the hold of a body of unknown length grows
PACE_BYTES: Final = 128 * 2**10  # a second
LOOK_S: Final = 0.5  # how often those that wait look at the pace of the others
# Copies of a body, at the peak of what is made of it.
IMAGE_COPIES: Final = 2  # the body, and the same in a decoding process
LIST_COPIES: Final = 3  # the body, its texts or files, and one image at a time
JSON_COPIES: Final = 8  # an object for each value
TABLE_BYTES: Final = 8 * 2**20  # a table streams through in portions, whatever its length
_TOO_SLOW: Final = (
    "the body came too slowly while others waited for the memory that it held; send it again."
)


@dataclass(frozen=True, slots=True, eq=False)
class _Demand:
    hold: "Hold"
    more_bytes: int
    turn: "asyncio.Future[None]"


def _size(demand: _Demand) -> int:
    return demand.more_bytes


class BodyBudget:
    """So many bytes, of which each request that has a body holds a part."""

    def __init__(self, capacity_bytes: int = DEFAULT_BYTES, *, wait_s: float = 1.0) -> None:
        """`wait_s`: how long a request waits for its part at most."""
        self.capacity_bytes, self._wait_s = capacity_bytes, wait_s
        self.held_bytes = 0
        self.reading: set[Hold] = set()
        self._waiting: list[_Demand] = []

    def hold(
        self,
        length_bytes: int | None,
        *,
        copies: int = 1,
        wait_s: float | None = None,
        arrived: bool = False,
    ) -> "Hold":
        """Hold so many copies of a body within `async with`, which raises BodiesFull.

        Without a length the hold grows while the body arrives. What could never fit takes all there
        is. `wait_s`: the longest wait that the client accepts. `arrived`: the body is there.
        """
        longest_s = self._wait_s if wait_s is None else min(wait_s, self._wait_s)
        return Hold(self, length_bytes, copies=copies, wait_s=longest_s, arrived=arrived)

    @property
    def large_bytes(self) -> int:
        """What all bodies that are not small may hold."""
        return self.capacity_bytes - self.capacity_bytes // SMALL_SHARE

    def give_back(self, size_bytes: int) -> None:
        """Release bytes, and let those that wait have them: who needs least first, of equals who
        came first.
        """
        self.held_bytes -= size_bytes
        while self._waiting:
            demand = min(self._waiting, key=_size)
            if not demand.turn.done():
                if not self._fits(demand):
                    return
                self.held_bytes += demand.more_bytes
                demand.hold.size_bytes += demand.more_bytes
                demand.turn.set_result(None)
            self._waiting.remove(demand)

    async def take(self, hold: "Hold", more_bytes: int) -> None:
        """Let `hold` have more bytes once they are free. Raises BodiesFull after its `wait_s`."""
        demand = _Demand(hold, more_bytes, asyncio.get_running_loop().create_future())
        self._waiting.append(demand)
        self.give_back(0)
        if len(self._waiting) > WAITING_LIMIT:
            largest = max(self._waiting, key=_size)
            self._waiting.remove(largest)
            largest.turn.set_exception(BodiesFull(self.capacity_bytes))
        try:
            if not demand.turn.done():
                await self._wait(demand)
            demand.turn.result()
        except TimeoutError:
            raise BodiesFull(self.capacity_bytes) from None
        finally:
            if demand in self._waiting:
                self._waiting.remove(demand)
                self.give_back(0)  # it may have been the only one in the way

    async def _wait(self, demand: _Demand) -> None:
        async with asyncio.timeout(demand.hold.wait_s):
            while not demand.turn.done():
                self._give_up_slow()
                await asyncio.wait([demand.turn], timeout=LOOK_S)

    def _give_up_slow(self) -> None:
        """End the reading of bodies that come too slowly, largest first, for all that wait."""
        slow = [hold for hold in self.reading if hold.is_slow()]
        missing = sum(map(_size, self._waiting))
        for hold in sorted(slow, key=lambda hold: hold.size_bytes, reverse=True):
            if missing > 0:
                hold.give_up()
                missing -= hold.size_bytes

    def _fits(self, demand: _Demand) -> bool:
        small = demand.hold.size_bytes + demand.more_bytes <= SMALL_BYTES
        limit_bytes = self.capacity_bytes if small else self.large_bytes
        return self.held_bytes + demand.more_bytes <= limit_bytes


class Hold:
    """A request's part of the budget."""

    def __init__(
        self,
        budget: BodyBudget,
        length_bytes: int | None,
        *,
        copies: int,
        wait_s: float,
        arrived: bool,
    ) -> None:
        self._budget, self._copies, self._length_bytes = budget, copies, length_bytes
        self.wait_s = wait_s
        self.size_bytes = self.received_bytes = 0
        self._first_bytes = length_bytes if arrived else FIRST_BYTES
        self._ends: asyncio.Timeout | None = None  # None while nothing is read
        self._given_up = self._was_slow = False
        self._since_s = self._read_s = 0.0  # when reading went on, how long before that
        self._seen_bytes = 0

    async def __aenter__(self) -> Self:
        """Take what the beginning needs at once, or wait. Raises BodiesFull."""
        try:
            await self._reach(self._first_bytes or 0)
        except BaseException:
            self._budget.give_back(self.size_bytes)  # its turn came, but nobody waited any more
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._budget.give_back(self.size_bytes)

    async def cover(self, received_bytes: int) -> None:
        """Hold enough for what follows so much of the body. Raises BodiesFull."""
        self.received_bytes = received_bytes
        if received_bytes < FIRST_BYTES or self._copies * received_bytes < self.size_bytes:
            return
        ends, since_s = self._ends, self._pause()
        await self._reach(self._length_bytes or received_bytes + STEP_BYTES)
        self._ends, self._since_s = ends, _now_s()
        if ends is not None and (until_s := ends.when()) is not None:
            ends.reschedule(until_s + self._since_s - since_s)

    async def _reach(self, body_bytes: int) -> None:
        """Hold this much of the body, or all of it."""
        length_bytes = body_bytes if self._length_bytes is None else self._length_bytes
        wanted = min(self._copies * min(body_bytes, length_bytes), self._budget.large_bytes)
        if wanted > self.size_bytes:
            await self._budget.take(self, wanted - self.size_bytes)

    @asynccontextmanager
    async def reading(self, timeout_s: float, *, late: str) -> AsyncIterator[None]:
        """Read the body, or a piece of it, within the block.

        Raises BodyTimeout with the sentence `late` after `timeout_s`, and earlier if the body comes
        too slowly while others wait.
        """
        self._since_s = _now_s()
        self._budget.reading.add(self)
        try:
            async with asyncio.timeout(timeout_s) as self._ends:
                yield
        except TimeoutError:
            raise BodyTimeout(_TOO_SLOW if self._given_up else late) from None
        finally:
            self._pause()
            self._budget.reading.discard(self)

    def is_slow(self) -> bool:
        """Whether it came at less than PACE_BYTES a second at this look and the one before.

        Before a single look, this process itself may have been too busy to read.
        """
        elapsed_s = self._read_s + _now_s() - self._since_s
        if self._ends is None or self._given_up or elapsed_s < LOOK_S:
            return False
        came_bytes = self.received_bytes - self._seen_bytes
        self._since_s, self._read_s, self._seen_bytes = _now_s(), 0.0, self.received_bytes
        was_slow, self._was_slow = self._was_slow, came_bytes < PACE_BYTES * elapsed_s
        return was_slow and self._was_slow

    def give_up(self) -> None:
        """End the reading now."""
        self._given_up = True
        if self._ends is not None:
            self._ends.reschedule(_now_s())

    def _pause(self) -> float:
        """Read nothing from now on; return the time."""
        self._ends, now_s = None, _now_s()
        self._read_s += now_s - self._since_s
        return now_s


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def check_encoding(value: str) -> None:
    """Raise BodyCompressed for a `Content-Encoding` that compresses.

    >>> check_encoding("identity")
    """
    if value.strip().lower() not in ("", "identity"):
        raise BodyCompressed(ascii(value).strip("'"))
