"""Memory that was freed goes back to the system."""

import asyncio
import ctypes
import resource
from pathlib import Path

import pytest

from serving.inference import freed_memory
from serving.inference.freed_memory import keep_returning_memory
from tests.builders.processes import PATIENCE_S

GROWN_BYTES = 128 * 2**20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


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


def test_a_server_that_has_grown_returns_what_it_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory, "PAUSE_S", 0.05)
    freed_memory.return_freed_memory()
    before = resident_bytes()

    async def grow() -> int:
        keeping = asyncio.create_task(keep_returning_memory())
        await asyncio.sleep(0)
        scattered(GROWN_BYTES)
        grown = resident_bytes()
        async with asyncio.timeout(PATIENCE_S):
            while resident_bytes() > before + GROWN_BYTES // 4:
                await asyncio.sleep(0.02)
        keeping.cancel()
        return grown

    assert asyncio.run(grow()) > before + GROWN_BYTES // 2
