"""The memory of all request bodies together: what does not fit waits for a moment, or is refused,
before it is read.

A body is held from before its first byte is read until its request is answered, at the cost of what
is made of it: texts, decoded images, and their copy in a decoding process. One event loop uses a
budget, so it needs no lock.
"""

import asyncio
from collections import deque
from typing import Final, Self

from monitoring.errors import BodiesFull, BodyCompressed

DEFAULT_BYTES: Final = 256 * 2**20
SMALL_BYTES: Final = 2**20  # bodies of up to this cost pass those that wait
SMALL_SHARE: Final = 8  # and an eighth of the budget is theirs alone
WAITING_LIMIT: Final = 128
STEP_BYTES: Final = 2**20  # by which the hold of a body of unknown length grows
# Copies of a body, at the peak of what is made of it.
IMAGE_COPIES: Final = 2  # the body, and the same in a decoding process
LIST_COPIES: Final = 3  # the body, its texts or files, and one image at a time
JSON_COPIES: Final = 8  # an object for each value
TABLE_BYTES: Final = 8 * 2**20  # a table streams through in portions, whatever its length


class BodyBudget:
    """So many bytes, of which each request that has a body holds a part."""

    def __init__(self, capacity_bytes: int = DEFAULT_BYTES, *, wait_s: float = 1.0) -> None:
        """`wait_s`: how long a request waits for its part at most."""
        self.capacity_bytes, self._wait_s = capacity_bytes, wait_s
        self.held_bytes = 0
        self._waiting: deque[tuple[Hold, asyncio.Future[None]]] = deque()

    def hold(
        self, length_bytes: int | None, *, copies: int = 1, wait_s: float | None = None
    ) -> "Hold":
        """Hold so many copies of a body within `async with`, which raises BodiesFull.

        Without a length the hold grows while the body arrives. What could never fit takes all there
        is. `wait_s`: the longest wait that the client accepts.
        """
        longest_s = self._wait_s if wait_s is None else min(wait_s, self._wait_s)
        return Hold(
            self,
            STEP_BYTES if length_bytes is None else length_bytes,
            copies=copies,
            wait_s=longest_s,
        )

    def fits(self, hold: "Hold", more_bytes: int) -> bool:
        """Whether `hold` may hold so much more now."""
        small = hold.size_bytes <= SMALL_BYTES
        return self.held_bytes + more_bytes <= (self.capacity_bytes if small else self.large_bytes)

    @property
    def large_bytes(self) -> int:
        """What all bodies that are not small may hold."""
        return self.capacity_bytes - self.capacity_bytes // SMALL_SHARE

    def give_back(self, size_bytes: int) -> None:
        """Release bytes, and let those that wait have them, first come, first served."""
        self.held_bytes -= size_bytes
        while self._waiting and self.fits(self._waiting[0][0], self._waiting[0][0].size_bytes):
            hold, turn = self._waiting.popleft()
            if not turn.done():
                self.held_bytes += hold.size_bytes
                turn.set_result(None)

    async def wait(self, hold: "Hold") -> None:
        """Take the bytes of `hold` once they are free. Raises BodiesFull after its `wait_s`."""
        if len(self._waiting) >= WAITING_LIMIT:
            raise BodiesFull(self.capacity_bytes)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (hold, turn)
        self._waiting.append(place)
        try:
            async with asyncio.timeout(hold.wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give_back(hold.size_bytes)
            else:
                if place in self._waiting:
                    self._waiting.remove(place)
                self.give_back(0)  # it may have been the only one in the way
            if isinstance(error, TimeoutError):
                raise BodiesFull(self.capacity_bytes) from None
            raise

    def must_wait(self, hold: "Hold") -> bool:
        """Whether `hold` must wait: no room, or it is large and others wait already."""
        behind = bool(self._waiting) and hold.size_bytes > SMALL_BYTES
        return behind or not self.fits(hold, hold.size_bytes)


class Hold:
    """A request's part of the budget."""

    __slots__ = ("_budget", "_copies", "size_bytes", "wait_s")

    def __init__(
        self, budget: BodyBudget, length_bytes: int, *, copies: int, wait_s: float
    ) -> None:
        self._budget, self._copies, self.wait_s = budget, copies, wait_s
        self.size_bytes = min(copies * length_bytes, budget.large_bytes)

    async def __aenter__(self) -> Self:
        """Take it at once or wait. Raises BodiesFull."""
        if self._budget.must_wait(self):
            await self._budget.wait(self)
        else:
            self._budget.held_bytes += self.size_bytes
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release it."""
        self._budget.give_back(self.size_bytes)

    def cover(self, received_bytes: int) -> None:
        """Hold enough for a body of which so much has arrived. Raises BodiesFull."""
        if self._copies * received_bytes > self.size_bytes < self._budget.large_bytes:
            self.resize(received_bytes + STEP_BYTES, copies=self._copies)

    def resize(self, length_bytes: int, *, copies: int) -> None:
        """Hold more, or less, from now on. Raises BodiesFull if that much is not free."""
        wanted = min(copies * length_bytes, self._budget.large_bytes)
        more = wanted - self.size_bytes
        if more > 0 and self._budget.held_bytes + more > self._budget.large_bytes:
            raise BodiesFull(self._budget.capacity_bytes)
        self.size_bytes = wanted
        self._budget.give_back(-more)


def check_encoding(value: str) -> None:
    """Raise BodyCompressed for a `Content-Encoding` that compresses.

    >>> check_encoding("identity")
    """
    if value.strip().lower() not in ("", "identity"):
        raise BodyCompressed(ascii(value).strip("'"))
