"""A load generator in a process of its own: keep-alive connections in a closed loop.

Raw sockets on uvloop, since a client library would need more processor than the server under test. `python -m
benchmarks.serving.load HOST PORT PATH FOLDER CONNECTIONS SECONDS` prints one JSON object.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop


@dataclass
class Tally:
    """What came back: latencies in seconds, and how many answers of each status."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def as_dict(self, seconds: float) -> dict[str, object]:
        """Rates and percentiles, in requests per second and milliseconds."""
        ordered = sorted(self.latencies_s) or [float("nan")]
        return {
            "requests_per_s": self.statuses[200] / seconds,
            "p50_ms": 1e3 * ordered[len(ordered) // 2],
            "p99_ms": 1e3 * ordered[int(len(ordered) * 0.99)],
            "statuses": dict(self.statuses),
        }


class Connection(asyncio.Protocol):
    """One connection in a closed loop over `requests`."""

    def __init__(self, requests: list[bytes], tally: Tally, *, first: int) -> None:
        self._requests = requests
        self._tally = tally
        self._next = first
        self._buffer = b""
        self._sent_s = 0.0
        self.counting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Count an answer when it is whole, then ask again."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found or len(rest) < _content_length(head):
            return
        self._buffer = b""
        if self.counting:
            self._tally.latencies_s.append(time.perf_counter() - self._sent_s)
            self._tally.statuses[int(head[9:12])] += 1
        self._send()

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        self._next += 1
        self._transport.write(self._requests[self._next % len(self._requests)])  # type: ignore[attr-defined]


def _content_length(head: bytes) -> int:
    _, _, after = head.lower().partition(b"content-length:")
    return int(after.partition(b"\r\n")[0])


def post(path: str, body: bytes) -> bytes:
    """A whole HTTP request."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: image/any\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def drive(host: str, port: int, requests: list[bytes], *, connections: int, seconds: float) -> dict[str, object]:
    """Load a server for a warm-up of a fifth of `seconds`, then for `seconds`, counting."""
    tally = Tally()
    loop = asyncio.get_running_loop()
    opened = []
    for number in range(connections):
        _, connection = await loop.create_connection(partial(Connection, requests, tally, first=number), host, port)
        opened.append(connection)
    await asyncio.sleep(seconds / 5)
    started_s = time.perf_counter()
    for connection in opened:
        connection.counting = True
    await asyncio.sleep(seconds)
    return tally.as_dict(time.perf_counter() - started_s)


def main() -> None:
    """Read the command line, drive, print."""
    host, port, path, folder, connections, seconds = sys.argv[1:]
    requests = [post(path, file.read_bytes()) for file in sorted(Path(folder).glob("*.image"))]
    result = uvloop.run(drive(host, int(port), requests, connections=int(connections), seconds=float(seconds)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
