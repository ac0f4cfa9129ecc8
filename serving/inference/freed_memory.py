"""The C library keeps freed memory for the next large body, and returns it later."""

import asyncio
import ctypes
import itertools
import resource
import sys
from pathlib import Path
from typing import Final

from model_store import kernel

LOOK_S: Final = 2.0
LOOKS: Final = 5
GROWTH_BYTES: Final = 16 * 2**20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_LARGEST_MMAP_THRESHOLD: Final = 32 * 2**20  # that glibc accepts
_NEVER: Final = 2**30


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, until `return_freed_memory`. Where it cannot, nothing
    changes.

    By itself, glibc gives the memory of each large body back and gets it again for the next one,
    page by page, which takes longer than to read the body. Threads share its memory, because it
    returns none of what a thread freed last in memory of its own.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if choose is not None:
        choose(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        choose(_M_TRIM_THRESHOLD, _NEVER)
        choose(_M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Return freed memory to the system, if the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


async def keep_returning_memory() -> None:
    """Look every LOOK_S, and return memory if the process has grown by GROWTH_BYTES, and at every
    LOOKS-th look. Ends when it is cancelled.

    What is in use stays, so the next look compares with what was left. What is freed later would
    stay too, if only growth counted.
    """
    left = resident_bytes()
    for look in itertools.count(1):
        await asyncio.sleep(LOOK_S)
        if look % LOOKS == 0 or resident_bytes() > left + GROWTH_BYTES:
            await asyncio.to_thread(return_freed_memory)
            left = resident_bytes()
        left = min(left, resident_bytes())


def resident_bytes() -> int:
    """Resident memory of this process; 0 if the system does not tell."""
    try:
        if not kernel.ENFORCES:
            import psutil  # only here: Linux does without

            return int(psutil.Process().memory_info().rss)
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0
