"""Broken requests at a real server: no 5xx, trace, lost neighbor or growing memory."""

import http.client
import random
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.builders.bundles import publish_tiny
from tests.builders.servers import Server
from tests.soak.mutation import Mutator, Request

RAW_SHARE = 0.03
NEIGHBORS = 50  # one request in so many is a good one
GROWTH_MB = 60.0
_SETTINGS = {
    "deadline_s": "30",
    "body_timeout_s": "2",
    "threads": "1",
}
_SETTINGS |= {"max_pixels": "4000000", "max_body_bytes": "1000000"}


@dataclass
class Outcome:
    """What came back; `wrong` are answers that a server never gives."""

    statuses: Counter[int] = field(default_factory=Counter)  # 0: closed without an answer
    wrong: list[str] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        told = ", ".join(
            f"{count:,} x {status or 'closed'}" for status, count in sorted(self.statuses.items())
        )
        memory = " -> ".join(f"{size:.0f}" for size in self.memory_mb)
        return (
            f"{self.statuses.total():,} requests in {self.seconds:.0f} s: {told}; memory MB: "
            f"{memory}"
        )


def fuzz(folder: Path, *, requests: int, seed: int, clients: int = 4) -> Outcome:
    """Send so many mutated requests. Raises AssertionError with the first wrong answers."""
    store = publish_tiny(folder / "store")
    server = Server(store.root, folder, **_SETTINGS)
    outcome = Outcome()
    started = time.monotonic()
    try:
        server.await_ready()
        for tenth in range(10):  # the first is the warming up
            _mutations(server, outcome, requests // 10, seed=f"{seed}:{tenth}", clients=clients)
            outcome.memory_mb.append(server.memory_mb)
            print(outcome, flush=True)  # `make soak` shows it
        server.signal(signal.SIGTERM)
        code = server.exit_code()
    finally:
        server.stop()
    outcome.seconds = time.monotonic() - started
    log = server.log()
    assert not outcome.wrong, outcome.wrong[:3]
    assert '"trace"' not in log, log[:3000]
    assert "Traceback" not in log, log[:3000]
    assert code == 0, f"exit code {code}"
    growth = outcome.memory_mb[-1] - outcome.memory_mb[0]
    assert growth < GROWTH_MB, f"memory grew by {growth:.0f} MB: {outcome.memory_mb}"
    return outcome


def _mutations(server: Server, outcome: Outcome, count: int, *, seed: str, clients: int) -> None:
    shares = [count // clients] * clients
    workers = [
        threading.Thread(target=_work, args=(server.port, outcome, share, f"{seed}:{number}"))
        for number, share in enumerate(shares)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(port: int, outcome: Outcome, count: int, seed: str) -> None:
    mutator, chance = Mutator(seed), random.Random(seed)
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    statuses: Counter[int] = Counter()
    for number in range(count):
        if number % NEIGHBORS == 0:
            good = Request("POST", "/predictions/tiny", mutator.images[0])
            status, answer = send(client, good)
            if status == 408:  # this process was held up between head and body
                status, answer = send(client, good)
            if status != 200:
                outcome.wrong.append(f"a good image got {status}: {answer[:300]!r}")
        elif chance.random() < RAW_SHARE:
            status = send_raw(port, mutator.raw())
        else:
            request = mutator.request()
            status, answer = send(client, request)
            if status >= 500:
                outcome.wrong.append(f"{status} {answer[:300]!r} for {request}")
        statuses[status] += 1
    client.close()
    outcome.statuses.update(statuses)


def send(client: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    """Status and body; 0 where the server closed the connection without an answer."""
    headers = {name: value.encode("latin-1") for name, value in request.headers.items()}
    try:
        client.request(request.method, request.path, request.body, headers)
        answer = client.getresponse()
        return answer.status, answer.read()
    except (http.client.HTTPException, ConnectionError):
        client.close()
        return 0, b""


def send_raw(port: int, data: bytes) -> int:
    """The status that bytes get which may be no HTTP."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
        suppress(ConnectionError),
    ):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65536):
            answer += part
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0
