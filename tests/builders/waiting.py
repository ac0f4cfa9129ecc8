"""Waiting for a condition. The deadline only ends a test that hangs: a machine eight times slower
keeps it.
"""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 300.0
T = TypeVar("T")


def wait_until(true: Callable[[], T], what: str = "a condition") -> T:
    """The first true value of `true()`."""
    end_s = time.monotonic() + PATIENCE_S
    while not (value := true()):
        assert time.monotonic() < end_s, f"it did not happen within {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.02)
    return value
