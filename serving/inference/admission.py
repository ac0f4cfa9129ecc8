"""Admission control: a request is admitted if its answer is predicted within the deadline, before
its body is read.

Without CANDOR_DEADLINE_S the deadline follows the model: what WAITING_ROOM waiting images need, or
one second if that is more. So a burst is answered however slow the model is. A client that cannot
wait so long names its own deadline.

Under overload, refusing at once makes things worse. Refused clients retry at once, and thousands of
refusals per second take processor time from admitted requests. So a refusal is delayed by a timer,
and the number of delayed refusals is limited.
"""

import asyncio
import time
from typing import Final

from serving.errors import Overloaded

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
