"""The memory that all decoding processes share: whoever needs much waits until enough is free."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """So many bytes, from which threads take parts. First come, first served: a large image is not
    passed over.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._free_bytes = capacity_bytes
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def reserve(self, size_bytes: int, *, timeout_s: float) -> Iterator[bool]:
        """Hold `size_bytes` meanwhile. False: they were not free within `timeout_s`, or never can
        be.
        """
        granted = self._take(size_bytes, timeout_s)
        try:
            yield granted
        finally:
            if granted:
                with self._changed:
                    self._free_bytes += size_bytes
                    self._changed.notify_all()

    def _take(self, size_bytes: int, timeout_s: float) -> bool:
        if size_bytes > self.capacity_bytes:
            return False
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            granted = self._changed.wait_for(
                lambda: self._waiting[0] is turn and size_bytes <= self._free_bytes, timeout_s
            )
            self._waiting.remove(turn)
            if granted:
                self._free_bytes -= size_bytes
            self._changed.notify_all()  # the next in line
        return granted
