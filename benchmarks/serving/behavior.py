"""How a server behaves: with garbage, beside garbage, after a storm, and when it is told to end."""

import asyncio
import time
from typing import Any

from benchmarks.serving.exchange import Request, ask, ask_all
from benchmarks.serving.process import Process

NEIGHBORS, ROUNDS = 15, 4
IN_FLIGHT = 32
STORM_S = 40.0


def garbage(port: int, good: Request, bad: Request, empty: Request) -> dict[str, Any]:
    """Statuses of a body that is no image and of none; of good requests beside bad ones, how many were harmed."""
    harmed = 0
    statuses = {"garbage": _status(port, bad), "empty": _status(port, empty)}
    for _ in range(ROUNDS):
        requests = [good] * NEIGHBORS
        requests.insert(NEIGHBORS // 2, bad)
        answers = asyncio.run(ask_all(port, requests))
        harmed += sum(status != 200 for status in answers) - (answers[NEIGHBORS // 2] != 200)
    return statuses | {"harmed": harmed, "beside": NEIGHBORS * ROUNDS}


def first_good_s(port: int, good: Request) -> float | None:
    """Seconds until a new request is answered well, asked again as long as it is not; None after STORM_S."""
    started_s = time.perf_counter()
    while (left_s := STORM_S - (time.perf_counter() - started_s)) > 0:
        if _status(port, good, timeout_s=left_s) == 200:
            return time.perf_counter() - started_s
        time.sleep(0.02)
    return None


def ended_in_flight(process: Process, good: Request) -> dict[str, int]:
    """Of IN_FLIGHT requests that are sent when SIGTERM comes, how many are answered well and how many refused."""

    async def ask_and_end() -> list[int | None]:
        asked = asyncio.ensure_future(ask_all(process.port, [good] * IN_FLIGHT))
        await asyncio.sleep(0.1)
        process.terminate()
        return await asked

    statuses = asyncio.run(ask_and_end())
    good_ones = statuses.count(200)
    return {"ended_well": good_ones, "ended_refused": len(statuses) - good_ones - statuses.count(None)}


def _status(port: int, request: Request, *, timeout_s: float = 30.0) -> int | None:
    try:
        return ask(port, request, timeout_s=timeout_s)
    except OSError:
        return None
