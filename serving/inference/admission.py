"""Who is let in: a request whose answer is predicted within the deadline, decided before its body is read.

Refusing at once under overload is worse than it looks: refused clients retry at once, and thousands of cheap
refusals a second leave no processor for the good requests. So a refusal is held back for a moment (a timer,
not a thread), and the number held is bounded.
"""

import asyncio
import time

from serving.errors import Overloaded

# Weight of the newest batch in the running means: about the last ten batches count.
RECENT = 0.2


class QueueEstimate:
    """How much work waits at one place and how long one image takes there; used from one thread. `with load:`
    counts one as waiting.

    `service_s` is measured where the work comes out, from the later of the last delivery and the batch's
    arrival, so that whatever stage is slowest (inference or ledger) is what is measured, and idle time is
    not.
    """

    def __init__(self, *, service_s: float = 0.0, batch: int = 1, clock_s: float | None = None) -> None:
        """`batch`: the most images that come out together."""
        self.waiting = 0
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
        """Seconds per image, as lately measured."""
        return self._mean_elapsed_s / self._mean_images

    @property
    def wait_s(self) -> float:
        """Seconds until a request that came now would be answered: after what waits, and with what shares its batch."""
        return (self.waiting + min(self.waiting, self._batch - 1)) * self.service_s

    def delivered(self, images: int, *, arrived_s: float, now_s: float) -> None:
        """Take in that `images` came out at `now_s`, the oldest having arrived at `arrived_s` (perf_counter)."""
        elapsed_s = now_s - max(self._last_s, arrived_s)
        self._mean_elapsed_s += RECENT * (elapsed_s - self._mean_elapsed_s)
        self._mean_images += RECENT * (images - self._mean_images)
        self._last_s = now_s

    def admit(self, deadline_s: float) -> None:
        """Raise Overloaded if a request that came now would wait longer than `deadline_s`."""
        if self.wait_s > deadline_s:
            raise Overloaded(wait_s=self.wait_s, deadline_s=deadline_s, clears_s=self._clears_s(deadline_s))

    def _clears_s(self, deadline_s: float) -> float:
        """Seconds until so few wait that one more would be let in: `wait_s` solved for how many may wait."""
        room = deadline_s / self.service_s
        return (self.waiting - max(room - (self._batch - 1), room / 2)) * self.service_s


class RefusalThrottle:
    """Holds refusals back for `hold_s` seconds, at most `limit` at once."""

    def __init__(self, *, hold_s: float, limit: int) -> None:
        self._hold_s = hold_s
        self._limit = limit
        self.held = 0

    async def hold(self) -> bool:
        """Wait out the hold; False at once where too many are held already, and the connection had better be closed."""
        if self.held >= self._limit:
            return False
        self.held += 1
        try:
            await asyncio.sleep(self._hold_s)
        finally:
            self.held -= 1
        return True
