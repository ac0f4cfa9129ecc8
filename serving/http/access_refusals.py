"""Paces the requests that access control refuses: tokens can be guessed by the thousand."""

import asyncio
import time
from typing import Final

from serving.error_table import error_answer, log_error
from serving.errors import ServingError

INTERVAL_S: Final = 0.1  # between two refusals of one address
BURST_S: Final = 1.0  # of them are answered at once
WAIT_S: Final = 5.0  # the longest that a refusal waits
ADDRESSES: Final = 1024  # that are paced each by itself; further ones share a pace


class AccessRefusals:
    """The refusals of one process. Use it on the event loop."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}  # by address: when its next refusal is due

    async def pace(self, address: str, path: str, error: ServingError) -> bool:
        """Wait until the address may have its refusal. False: close, too many of it wait."""
        log_error(path, error_answer(error), error)
        wait_s = self._wait_s(address, time.monotonic())
        if wait_s > WAIT_S:
            return False
        await asyncio.sleep(max(wait_s, 0.0))
        return True

    def _wait_s(self, address: str, now_s: float) -> float:
        if address not in self._due_s and len(self._due_s) >= ADDRESSES:
            self._due_s = {each: due_s for each, due_s in self._due_s.items() if due_s > now_s}
            address = address if len(self._due_s) < ADDRESSES else ""
        due_s = max(self._due_s.get(address, now_s), now_s)
        wait_s = due_s - now_s - BURST_S
        if wait_s <= WAIT_S:
            self._due_s[address] = due_s + INTERVAL_S
        return wait_s
