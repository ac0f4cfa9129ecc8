"""A server's behavior: with and beside invalid images, in a burst, after a storm, on SIGTERM."""

import asyncio
import time
from typing import Any

from benchmarks.serving.exchange import Request, ask, ask_all
from benchmarks.serving.process import Process

NEIGHBORS, ROUNDS = 15, 4
IN_FLIGHT = 32
STORM_S = 40.0
BURST = 64
BURST_S = 120.0


def garbage(port: int, good: Request, bad: Request, empty: Request) -> dict[str, Any]:
    """The statuses of an invalid and an empty body, and how many good requests failed beside."""
    harmed = 0
    statuses = {"garbage": _status(port, bad), "empty": _status(port, empty)}
    for _ in range(ROUNDS):
        requests = [good] * NEIGHBORS
        requests.insert(NEIGHBORS // 2, bad)
        answers = asyncio.run(ask_all(port, requests))
        harmed += sum(status != 200 for status in answers) - (answers[NEIGHBORS // 2] != 200)
    return statuses | {"harmed": harmed, "beside": NEIGHBORS * ROUNDS}


def burst(port: int, good: Request) -> dict[str, Any]:
    """How many of BURST requests at once to an idle server succeed, and after how many seconds."""
    started_s = time.perf_counter()
    statuses = asyncio.run(ask_all(port, [good] * BURST, timeout_s=BURST_S))
    return {"burst_answered": statuses.count(200), "burst_s": time.perf_counter() - started_s}


def first_good_s(port: int, good: Request) -> float | None:
    """Seconds until a new request succeeds, with retries; None after STORM_S."""
    started_s = time.perf_counter()
    while (left_s := STORM_S - (time.perf_counter() - started_s)) > 0:
        if _status(port, good, timeout_s=left_s) == 200:
            return time.perf_counter() - started_s
        time.sleep(0.02)
    return None


def ended_in_flight(process: Process, good: Request) -> dict[str, int]:
    """How many of IN_FLIGHT requests at SIGTERM succeed, and how many are refused."""

    async def ask_and_end() -> list[int | None]:
        asked = asyncio.ensure_future(ask_all(process.port, [good] * IN_FLIGHT))
        await asyncio.sleep(0.1)
        process.terminate()
        return await asked

    statuses = asyncio.run(ask_and_end())
    good_ones = statuses.count(200)
    return {
        "ended_well": good_ones,
        "ended_refused": len(statuses) - good_ones - statuses.count(None),
    }


def _status(port: int, request: Request, *, timeout_s: float = 30.0) -> int | None:
    try:
        return ask(port, request, timeout_s=timeout_s)
    except OSError:
        return None
