"""Memory that was freed goes back to the system."""

import asyncio
import ctypes
import subprocess
import sys

import pytest

from serving.inference import freed_memory
from serving.inference.freed_memory import (
    GROWTH_BYTES,
    keep_returning_memory,
    resident_bytes,
    return_freed_memory,
)
from tests.builders.processes import PATIENCE_S


def scattered(size_bytes: int) -> None:
    """Allocate and free many blocks that are too small for a mapping each."""
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    blocks = [library.malloc(100_000) for _ in range(size_bytes // 100_000)]
    for block in blocks:
        ctypes.memset(block, 1, 100_000)
    library.malloc(100_000)  # keeps the heap from shrinking by itself
    for block in blocks:
        library.free(block)


def test_what_is_freed_after_a_look_is_returned_without_growth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after a flood, at whose end nothing grows any more."""
    returned: list[int] = []
    monkeypatch.setattr(freed_memory, "LOOK_S", 0)
    monkeypatch.setattr(freed_memory, "resident_bytes", lambda: GROWTH_BYTES)
    monkeypatch.setattr(freed_memory, "return_freed_memory", lambda: returned.append(1))

    async def rest() -> None:
        keeping = asyncio.create_task(keep_returning_memory())
        async with asyncio.timeout(PATIENCE_S):
            while not returned:
                await asyncio.sleep(0)
        keeping.cancel()

    asyncio.run(rest())


def test_a_server_that_has_grown_returns_what_it_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory, "LOOK_S", 0.05)
    return_freed_memory()
    before = resident_bytes()

    async def grow() -> int:
        keeping = asyncio.create_task(keep_returning_memory())
        await asyncio.sleep(0)
        scattered(8 * GROWTH_BYTES)
        grown = resident_bytes()
        async with asyncio.timeout(PATIENCE_S):
            while resident_bytes() > before + 3 * GROWTH_BYTES // 2:
                await asyncio.sleep(0.02)
        keeping.cancel()
        return grown

    assert asyncio.run(grow()) > before + 4 * GROWTH_BYTES


BODIES = """
import threading
from serving.inference.freed_memory import keep_freed_memory, resident_bytes, return_freed_memory
{keep}
def read_bodies():
    bodies = [bytes(bytearray(10_000_000)) for _ in range(5)]
before = resident_bytes()
threads = [threading.Thread(target=read_bodies), threading.Thread(target=read_bodies)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
kept = resident_bytes() - before
return_freed_memory()
print(kept, resident_bytes() - before)
"""


def test_the_memory_of_a_large_body_is_kept_for_the_next_until_it_is_returned() -> None:
    def bodies(keep: str) -> list[int]:
        script = [sys.executable, "-c", BODIES.format(keep=keep)]
        return [int(size) for size in subprocess.check_output(script, text=True).split()]

    kept, left = bodies("keep_freed_memory()")
    assert kept > 40_000_000
    assert left < 20_000_000
    assert bodies("")[0] < 20_000_000  # glibc by itself
