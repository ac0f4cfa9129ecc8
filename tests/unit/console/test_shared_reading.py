"""Readers who wait share one reading, which began after they asked."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from console.index import SharedReading
from tests.builders.processes import wait_until


class CountedLock:
    """A lock that counts who asks for it."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.asked.append(1)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_those_who_wait_share_the_next_reading() -> None:
    begun, go_on, numbers = threading.Event(), threading.Event(), iter(range(1, 100))

    def read() -> int:
        number = next(numbers)
        begun.set()
        go_on.wait()
        return number

    shared, lock = SharedReading(read), CountedLock()
    shared._lock = lock
    with ThreadPoolExecutor(6) as threads:
        first = threads.submit(shared)
        begun.wait()
        waiting = [threads.submit(shared) for _ in range(5)]
        wait_until(lambda: len(lock.asked) == 6)
        go_on.set()
        assert first.result() == 1
        assert [each.result() for each in waiting] == [2] * 5
    assert shared() == 3


def test_an_error_is_not_shared() -> None:
    answers: list[Any] = [OSError("away"), "read"]

    def read() -> str:
        found = answers.pop(0)
        if isinstance(found, OSError):
            raise found
        return str(found)

    shared = SharedReading(read)
    with pytest.raises(OSError, match="away"):
        shared()
    assert shared() == "read"
