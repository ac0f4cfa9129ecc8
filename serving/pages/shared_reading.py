"""`SharedReading`: readers who ask for the same thing at the same time share one reading of it."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedReading(Generic[T]):
    """One reading at a time; those who wait for it share the next one.

    Nobody gets what was read before they asked, and however many ask, one thread reads.
    """

    def __init__(self, read: Callable[[], T]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._begun = 0
        self._last: tuple[int, T] | None = None  # the number of a reading, and what it read

    def __call__(self) -> T:
        """Read, or wait for somebody who does. Raises what reading raises."""
        needed = self._begun + 1
        with self._lock:
            if self._last is None or self._last[0] < needed:
                self._begun += 1
                self._last = (self._begun, self._read())
            return self._last[1]
