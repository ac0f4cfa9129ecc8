"""Large bodies over real sockets, however they come, and what follows on the connection."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from model_store.store.store import Store
from tests.builders.bundles import png, publish_tiny
from tests.builders.dicoms import dicom
from tests.builders.processes import PATIENCE_S, candor, wait_until
from tests.builders.servers import Server, Start

HASTE_S = 2.0
HOST = "Host: localhost"


def running(folder: Path, timeout_s: float) -> Iterator[Server]:
    store = publish_tiny(folder / "store")
    server = Server(store.root, folder, body_timeout_s=timeout_s, deadline_s=PATIENCE_S)
    yield server.await_ready()
    server.stop()
    assert "Traceback" not in server.log()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for bodies as long as this process may be held up."""
    yield from running(tmp_path_factory.mktemp("large"), PATIENCE_S)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for a body for HASTE_S."""
    yield from running(tmp_path_factory.mktemp("hasty"), HASTE_S)


@pytest.fixture(scope="module")
def radiograph() -> bytes:
    """4 MB."""
    return dicom(np.random.default_rng(0).integers(0, 4096, (2000, 1000)).astype(np.uint16))


class Client:
    """A connection that reads one answer after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._stream = connection.makefile("rb")

    def answer(self) -> tuple[int, dict[str, object]]:
        """Status and JSON of the next answer."""
        status = int(self._line().split()[1])
        length = 0
        while line := self._line():
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        return status, json.loads(self._stream.read(length))

    def _line(self) -> str:
        return self._stream.readline().decode().rstrip("\r\n")


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with connected(server) as connection:
        yield Client(connection)


def head(body: bytes, *lines: str, version: str = "1.1") -> bytes:
    first = f"POST /predictions/tiny HTTP/{version}"
    return "\r\n".join([first, HOST, f"Content-Length: {len(body)}", *lines, "", ""]).encode()


def small() -> bytes:
    return head(png()) + png()


def probabilities(answer: tuple[int, dict[str, object]]) -> object:
    assert answer[0] == 200, answer
    return answer[1]["probabilities"]


@pytest.mark.parametrize("first", [0, 1, 60_000, 70_000, 1_500_000, -1])
def test_the_answer_is_the_same_however_the_bytes_come(
    client: Client, server: Server, radiograph: bytes, first: int
) -> None:
    """In pieces that end anywhere, with the next request in the same piece as the end."""
    # chunked
    expected = server.client.post("/predictions/tiny", content=iter([radiograph])).json()[
        "probabilities"
    ]
    client.connection.sendall(head(radiograph) + radiograph[:first])
    time.sleep(0.1)
    for start in range(len(radiograph[:first]), len(radiograph), 900_001):
        piece = radiograph[start : start + 900_001]
        client.connection.sendall(
            piece + (small() if start + len(piece) == len(radiograph) else b"")
        )
        time.sleep(0.02)
    assert probabilities(client.answer()) == expected
    assert client.answer()[0] == 200


@pytest.mark.parametrize("arrives", [100, 200_000, 3_000_000])
def test_a_body_that_stalls_is_refused_in_time_and_the_connection_goes_on(
    hasty: Server, radiograph: bytes, arrives: int
) -> None:
    with connected(hasty) as connection:
        client, started_s = Client(connection), time.monotonic()
        connection.sendall(head(radiograph) + radiograph[:arrives])
        status, answer = client.answer()
        assert (status, answer["error"]) == (408, "body_timeout")
        assert time.monotonic() - started_s >= HASTE_S
        connection.sendall(radiograph[arrives:] + small())  # the rest is passed over
        assert client.answer()[0] == 200
    wait_until(lambda: hasty.metric("candor_body_memory_bytes") == 0)


@pytest.mark.parametrize("half", [True, False])
def test_a_client_that_leaves_in_the_middle_is_counted_and_costs_nothing(
    client: Client, server: Server, radiograph: bytes, half: bool
) -> None:
    gone = 'candor_requests_rejected_total{reason="client_gone"}'
    before = next(float(line.split()[-1]) for line in server.metrics() if line.startswith(gone))
    client.connection.sendall(head(radiograph) + radiograph[: len(radiograph) // 2])
    time.sleep(0.1)
    client.connection.shutdown(socket.SHUT_WR if half else socket.SHUT_RDWR)
    wait_until(lambda: f"{gone} {before + 1}" in server.metrics())
    wait_until(lambda: server.metric("candor_body_memory_bytes") == 0)


def test_the_same_over_tls(
    tiny_store: Store, start: Start, certificate: Path, radiograph: bytes
) -> None:
    server = start(tiny_store, ready=False, tls_certificate=str(certificate))
    context = ssl.create_default_context(cafile=str(certificate))
    with httpx.Client(base_url=f"https://127.0.0.1:{server.port}", verify=context) as asking:
        wait_until(lambda: asking.get("/readyz").status_code == 200)
    health = candor("health", CANDOR_PORT=str(server.port), CANDOR_TLS_CERTIFICATE=str(certificate))
    assert health.stdout == f"https://127.0.0.1:{server.port}/healthz: alive\n"
    with (
        connected(server) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        client = Client(connection)
        for _ in range(3):
            connection.sendall(head(radiograph) + radiograph[:100_000])
            time.sleep(0.05)
            connection.sendall(radiograph[100_000:] + small())
            assert [client.answer()[0] for _ in range(2)] == [200, 200]
