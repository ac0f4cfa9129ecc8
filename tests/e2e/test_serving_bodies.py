"""Large bodies in flight stay within the memory that is set aside for bodies."""

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from hosting.settings import Settings
from model_store.store.store import Store
from tests.builders.bundles import png
from tests.builders.dicoms import dicom
from tests.builders.processes import PATIENCE_S, wait_until
from tests.builders.servers import Server
from tests.soak.probe import memory_mb

PEAK_MB = 1500
BUDGET_BYTES = Settings(ledger="off").body_budget_bytes
TRIES = 300
WITH_BODIES = (b"/predictions/tiny", b"/v2/models/tiny/infer", b"/feedback", b"/predictions-log")
HEAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n"


class Watch:
    """The most memory that the server took, and that its bodies held, while the block ran."""

    def __init__(self, server: Server) -> None:
        self.peak_mb = self.held_bytes = 0.0
        self._server, self._ended = server, threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._weigh, self._scrape)]

    @contextmanager
    def watching(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in self._threads:
                thread.join()

    def _weigh(self) -> None:
        while not self._ended.wait(0.02):
            self.peak_mb = max(self.peak_mb, memory_mb(self._server.process.pid))

    def _scrape(self) -> None:
        while not self._ended.wait(0.05):
            self.held_bytes = max(self.held_bytes, self._server.metric("candor_body_memory_bytes"))


def send_until_answered(url: str, body: bytes, seen: Counter[str], headers: dict[str, str]) -> None:
    """As a client does that comes back too early."""
    for _ in range(TRIES):
        answer = httpx.post(f"{url}/predictions/tiny", content=body, headers=headers)
        seen[str(answer.status_code) if answer.status_code == 200 else answer.json()["error"]] += 1
        if answer.status_code not in (408, 429):  # 408 where this machine is too busy to send
            return
        assert answer.status_code == 408 or float(answer.headers["retry-after"]) >= 1
        time.sleep(0.3)  # less than that, to press harder


def radiograph() -> bytes:
    """10 MB, as it comes from a detector."""
    return dicom(np.random.default_rng(0).integers(0, 4096, (2500, 2000)).astype(np.uint16))


def mammogram() -> bytes:
    """27 MB."""
    return dicom(np.random.default_rng(1).integers(0, 4096, (4096, 3328)).astype(np.uint16))


@pytest.mark.parametrize(
    ("make", "count"),
    [(mammogram, 16), pytest.param(radiograph, 64, marks=pytest.mark.nightly)],
)
def test_all_in_flight_are_answered_and_never_hold_more_than_is_set_aside(
    tiny_store: Store, tmp_path: Path, make: Callable[[], bytes], count: int
) -> None:
    body = make()
    server = Server(tiny_store.root, tmp_path)
    try:
        server.await_ready()
        watch, seen = Watch(server), Counter[str]()
        with watch.watching():
            threads = [
                threading.Thread(target=send_until_answered, args=(server.url, body, seen, {}))
                for _ in range(count)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert seen["200"] == count, seen
        assert set(seen) <= {"200", "bodies_full", "overloaded", "body_timeout"}, seen
        assert len(body) < watch.held_bytes <= BUDGET_BYTES, watch.held_bytes
        assert watch.peak_mb < PEAK_MB, (watch.peak_mb, seen)
        wait_until(lambda: server.metric("candor_body_memory_bytes") == 0)
    finally:
        server.stop()


def test_bodies_that_were_announced_and_do_not_come_keep_nobody_waiting(
    tiny_store: Store, tmp_path: Path
) -> None:
    server = Server(tiny_store.root, tmp_path, body_timeout_s=PATIENCE_S)
    try:
        server.await_ready()
        for path in WITH_BODIES:
            for sent_bytes in (1, 70_000):
                _stall(server, HEAD % path + b" " * sent_bytes, 100 * sent_bytes, png())
    finally:
        server.stop()


def _stall(server: Server, begun: bytes, least_bytes: int, image: bytes) -> None:
    """Begin a request a hundred times, of whose bodies more than `least_bytes` are held."""
    with contextlib.ExitStack() as stalled:
        for _ in range(100):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
            stalled.enter_context(connection).sendall(begun)
        wait_until(lambda: server.metric("candor_body_memory_bytes") > least_bytes, str(begun[:40]))
        assert server.predict(bytes(4_000_000)).status_code == 415
        assert server.predict(image).status_code == 200
        assert server.metric("candor_body_memory_bytes") > least_bytes  # none has given up
    wait_until(lambda: server.metric("candor_body_memory_bytes") == 0)
