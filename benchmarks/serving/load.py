"""A load generator in its own process: keep-alive connections in a closed loop.

It uses raw sockets on uvloop, because a client library would need more processor time than the
server under test. `python -m benchmarks.serving.load PORT REQUESTS CONNECTIONS SECONDS` prints one
JSON object. REQUESTS is a folder of files, each with the bytes of one request.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import uvloop

RECONNECT_S = 0.01
SLOWEST_S = 60.0  # for the first good answer
GAP_S = 0.02  # within which answers follow each other that a server gave together


@dataclass
class Tally:
    """The result of the counting window: answers by status, and connections that the server
    closed.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    retry_after_s: Counter[str] = field(default_factory=Counter)  # of refusals
    closed: int = 0


class Window(Protocol):
    """When answers count."""

    def holds(self, now_s: float, *, good: bool) -> bool:
        """Whether an answer at `now_s` (perf_counter) counts."""


class BatchWindow:
    """The counting window of a measurement, from the end of one batch to the end of another.

    The answers of a batch arrive together. A window by the clock would hold one batch more or less
    by chance, and one from the first answer of a batch would count that batch, but not the last
    one, whose time it holds. Answers that follow each other within GAP_S count as one batch, but no
    more than `connections`.
    """

    def __init__(self, seconds: float, *, connections: int) -> None:
        self._seconds, self._connections = seconds, connections
        self._opened_s: float | None = None
        self._last_s = 0.0
        self._left: int | None = (
            connections  # answers that the first batch may still have; None: it has ended
        )
        self._last_batch = 0
        self.is_closed = False
        self.closed = asyncio.Event()

    def holds(self, now_s: float, *, good: bool) -> bool:
        """Whether an answer at `now_s` counts. Good answers open and close the window."""
        if self.is_closed or (self._opened_s is None and not good):
            return False
        if not good:
            return True
        together, self._last_s, before_s = now_s - self._last_s <= GAP_S, now_s, self._last_s
        if self._opened_s is None or (self._left and together):
            self._opened_s, self._left = (
                now_s,
                self._connections if self._opened_s is None else self._left - 1,
            )
            return False
        self._left = None
        if before_s - self._opened_s >= self._seconds:
            if not together or self._last_batch == self._connections:
                self._last_s, self.is_closed = before_s, True
                self.closed.set()
                return False
            self._last_batch += 1
        return True

    def length_s(self) -> float:
        """Seconds from opening to closing (or to now); the intended length if never opened."""
        if self._opened_s is None:
            return self._seconds
        return (self._last_s if self.is_closed else time.perf_counter()) - self._opened_s


class Crowd:
    """All connections, with their requests, their results and the counting window."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self.port = port
        self.requests = requests
        self.tally = Tally()
        self.window: Window | None = None
        self._transports: set[asyncio.Transport] = set()
        self._ended = False

    def begin(self, transport: asyncio.Transport) -> None:
        """Keep a new connection."""
        self._transports.add(transport)

    def count(self, status: int, head: bytes) -> None:
        """Count an answer with a `head` in lower case."""
        if self.window is None or not self.window.holds(time.perf_counter(), good=status == 200):
            return
        self.tally.statuses[status] += 1
        if status == 429:
            wait = head.partition(b"\r\nretry-after:")[2].partition(b"\r\n")[0].strip()
            self.tally.retry_after_s[wait.decode()] += 1

    def leave(self, number: int, transport: asyncio.Transport) -> None:
        """Replace a connection that the server has closed."""
        self._transports.discard(transport)
        if not self._ended:
            self.tally.closed += self.window is not None
            asyncio.get_running_loop().call_later(RECONNECT_S, self._rejoin, number)

    def _rejoin(self, number: int) -> None:
        if not self._ended:
            self._joining = asyncio.ensure_future(self.join(number))

    def end(self) -> None:
        """Close every connection."""
        self._ended = True
        for transport in self._transports:
            transport.abort()

    async def join(self, number: int) -> None:
        """Connect, with retries."""
        loop = asyncio.get_running_loop()
        while not self._ended:
            try:
                await loop.create_connection(
                    partial(Connection, self, number), "127.0.0.1", self.port
                )
                return
            except OSError:
                await asyncio.sleep(RECONNECT_S)


class Connection(asyncio.Protocol):
    """One connection in a closed loop. It reconnects when the server closes it."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._number = number
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._crowd.begin(self._transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Count a complete answer, then send the next request."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        head = head.lower()
        if not found or not _whole(head, rest):
            return
        self._buffer = b""
        self._crowd.count(int(head[9:12]), head)
        if b"\r\nconnection: close" not in head and not self._transport.is_closing():
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        """Reconnect."""
        self._crowd.leave(self._number, self._transport)

    def _send(self) -> None:
        self._number += 1
        self._transport.write(self._crowd.requests[self._number % len(self._crowd.requests)])


def _whole(head: bytes, rest: bytes) -> bool:
    """Whether `rest` is all of the body that `head` (in lower case) announces."""
    _, length, after = head.partition(b"content-length:")
    if length:
        return len(rest) >= int(after.partition(b"\r\n")[0])
    return b"chunked" not in head or rest.endswith(b"0\r\n\r\n")


async def drive(
    port: int, requests: list[bytes], *, connections: int, seconds: float
) -> dict[str, object]:
    """Load a server for a warm-up of a fifth of `seconds`, then for `seconds`, counting."""
    crowd = Crowd(port, requests)
    await asyncio.gather(*(crowd.join(number) for number in range(connections)))
    await asyncio.sleep(seconds / 5)
    crowd.window = window = BatchWindow(seconds, connections=connections)
    with suppress(TimeoutError):  # the server may give no good answer
        async with asyncio.timeout(2 * seconds + SLOWEST_S):
            await window.closed.wait()
    statuses = crowd.tally.statuses
    return {"requests_per_s": statuses[200] / window.length_s(), "statuses": dict(statuses)}


def main() -> None:
    """Read the command line, drive, print."""
    port, folder, connections, seconds = sys.argv[1:]
    requests = [file.read_bytes() for file in sorted(Path(folder).glob("*.request"))]
    print(
        json.dumps(
            uvloop.run(
                drive(int(port), requests, connections=int(connections), seconds=float(seconds))
            )
        )
    )


if __name__ == "__main__":
    main()
