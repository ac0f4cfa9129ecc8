"""Returns the memory that large bodies took to the system; the C library keeps it."""

import asyncio
import ctypes
import sys
from typing import Final

PAUSE_S: Final = 10.0
_M_ARENA_MAX: Final = -8  # of glibc's malloc.h


def share_freed_memory() -> None:
    """Let all threads take memory from one heap, if the C library can: it returns none of what a
    thread freed last in a heap of its own.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if choose is not None:
        choose(_M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Return freed memory to the system, if the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


async def keep_returning_memory() -> None:
    """Return it every PAUSE_S, until cancelled."""
    while True:
        await asyncio.sleep(PAUSE_S)
        await asyncio.to_thread(return_freed_memory)
