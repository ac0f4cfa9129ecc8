"""The sample configuration of HAProxy in front of two servers that share a ledger."""

import http.client
import json
import re
import socket
import sqlite3
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from console.api_page import ENDPOINTS as DESCRIPTION
from console.monitor_server import DECLARED as MONITORED
from console.routes import SERVER_PAGES
from monitoring.routes import METRICS
from serving.client import Client
from serving.process.routes import ENDPOINTS as SERVED
from serving.trials.trials import ENDPOINTS as TRIALS
from serving.v2.rest import ENDPOINTS as V2
from tests.builders.bundles import png, publish_tiny
from tests.builders.dicoms import dicom
from tests.builders.manifests import ROOT
from tests.builders.processes import PATIENCE_S, free_port, wait_until
from tests.builders.servers import Server

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.programs("haproxy"),
]
SAMPLE = (ROOT / "deploy/haproxy/haproxy.cfg").read_text()
PORTS = (8080, 8090)  # of a server and a monitor in the sample
TOKEN = "0123456789abcdef0123456789abcdef"
ABSENT = "01890a5d-ac96-774b-bcce-b302099a8057"  # an id that no prediction has


class Proxy:
    """HAProxy with the sample's configuration, and `places` instead of its addresses."""

    def __init__(self, folder: Path, certificate: Path, places: dict[str, str]) -> None:
        self.port = free_port()
        text = SAMPLE.replace("/etc/haproxy/candor.pem", str(certificate))
        text = text.replace("0.0.0.0:443", f"127.0.0.1:{self.port}")
        for place, there in places.items():
            assert place in text
            text = text.replace(place, there)
        file = folder / "haproxy.cfg"
        file.write_text(text)
        subprocess.run(["haproxy", "-c", "-f", file], check=True, capture_output=True)
        with (folder / "haproxy.log").open("wb") as log:
            self._process = subprocess.Popen(["haproxy", "-db", "-f", file], stdout=log, stderr=log)
        self.context = ssl.create_default_context(cafile=str(certificate))
        self.url = f"https://127.0.0.1:{self.port}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.client = httpx.Client(base_url=self.url, verify=self.context, headers=headers)

    def ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, method: str, path: str, headers: dict[str, str]) -> int:
        """The status of a request whose body comes in one piece with its head."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        end = "Content-Length: 1\r\n\r\nx" if method == "POST" else "\r\n"
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as connection,
            self.context.wrap_socket(connection, server_hostname="127.0.0.1") as encrypted,
        ):
            encrypted.sendall(("\r\n".join(lines) + "\r\n" + end).encode())
            with encrypted.makefile("rb") as answer:
                return int(answer.readline().split()[1])

    def stop(self) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()


def places_of(*servers: Server) -> dict[str, str]:
    """Where the sample's addresses are: complete servers are their own monitors."""
    found = {}
    for number, server in enumerate(servers, 1):
        here = f"10.0.0.{number}"
        found |= {f"{here}:{port}": f"127.0.0.1:{server.port}" for port in (8080, 8090)}
    return found


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    store = publish_tiny(tmp_path / "store")
    settings = {"tokens": f"{TOKEN} admin", "deadline_s": 30}
    started = [Server(store.root, tmp_path, **settings) for _ in range(2)]
    for server in started:
        server.await_ready()
    yield started
    for server in started:
        server.stop()


@pytest.fixture
def proxy(tmp_path: Path, certificate: Path, servers: list[Server]) -> Iterator[Proxy]:
    found = Proxy(tmp_path, certificate, places_of(*servers))
    wait_until(found.ready, "a proxy that finds its servers")
    yield found
    found.stop()


def rows(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_tls_ends_at_the_proxy_and_servers_know_it(proxy: Proxy) -> None:
    signed_in = httpx.post(
        f"{proxy.url}/sign-in",
        data={"token": TOKEN},
        headers={"X-Forwarded-Proto": "http", "Origin": proxy.url},
        verify=proxy.context,
    )
    assert signed_in.status_code == 303, signed_in.text
    assert "Secure" in signed_in.headers["set-cookie"]
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{proxy.port}/readyz")
    assert proxy.client.get("/metrics").status_code == 404


def test_large_bodies_pass_and_what_is_too_large_is_said_by_the_server(proxy: Proxy) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (5000, 2500)).astype(np.uint16)
    answer = proxy.client.post("/predictions/tiny", content=dicom(pixels))  # 25 MB
    assert answer.status_code == 200, answer.text
    refused = proxy.client.post("/predictions/tiny", content=bytes(70 * 2**20))
    assert (refused.status_code, refused.json()["error"]) == (413, "body_too_large")


def test_labels_are_recorded_while_their_table_comes(proxy: Proxy, tmp_path: Path) -> None:
    answer = proxy.client.post("/predictions/tiny", content=png()).json()
    label = json.dumps({"prediction_id": answer["prediction_id"], "label": answer["predicted"]})
    unknown = label.replace(answer["prediction_id"], ABSENT)
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, context=proxy.context)
    connection.putrequest("POST", "/feedback")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Content-Type", "application/x-ndjson")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()

    def send(text: str) -> None:
        connection.send(f"{len(text):x}\r\n{text}\r\n".encode())

    send(f"{label}\n" + f"{unknown}\n" * 20_000)
    wait_until(lambda: rows(tmp_path, "feedback") == 1, "a label before the end of its table")
    send(f"{unknown}\n")
    connection.send(b"0\r\n\r\n")
    summary = json.loads(connection.getresponse().read())
    assert summary["rows"] == 20_002
    connection.close()


@pytest.mark.parametrize(
    ("number", "survived"), [(SIGTERM, ()), (SIGKILL, httpx.RemoteProtocolError)]
)
def test_no_request_fails_while_a_server_ends_and_none_is_recorded_twice(
    proxy: Proxy, servers: list[Server], tmp_path: Path, number: int, survived: Any
) -> None:
    """The proxy closes the connection of a request whose server was killed; its caller repeats it."""
    client = Client(proxy.url, token=TOKEN, transport=httpx.HTTPTransport(verify=proxy.context))
    done, failed, enough = list[str](), list[Exception](), threading.Event()

    def ask(seed: int) -> None:
        while not enough.is_set():
            key = uuid4().hex if survived else None
            while True:
                try:
                    answer = client.predict(png(seed), model="tiny", idempotency_key=key)
                    done.append(answer["prediction_id"])
                except survived:
                    continue
                except Exception as error:  # noqa: BLE001  every other failure counts
                    failed.append(error)
                break

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(done) > 50, "predictions")
    servers[0].end(number)
    before = len(done)
    wait_until(lambda: len(done) > before + 100, "predictions by the other server")
    enough.set()
    for thread in threads:
        thread.join()
    client.close()
    assert failed == []
    assert rows(tmp_path, "prediction") == len(set(done)) == len(done)


class Deaf:
    """A server that is ready, and ends every other connection once it has read a request."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                head = list(takewhile(bytes.strip, stream))
                if head and head[0].startswith(b"GET /readyz"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                elif head:
                    stream.read(sum(b"content-length: 1" in line.lower() for line in head))
                    self.asked.append(head[0].decode().strip())

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.mark.parametrize(
    ("method", "path", "headers", "times"),
    [
        ("POST", "/predictions/tiny", {}, 1),
        ("POST", "/predictions/tiny", {"Idempotency-Key": "once"}, 3),
        ("POST", "/predictions/tiny", {"Idempotency-Key": "once", "X-Candor-Attempt": "1"}, 1),
        ("POST", "/v2/models/tiny/infer", {}, 1),
        ("POST", "/versions/tiny", {}, 1),
        ("POST", "/recalibrate/tiny", {}, 1),
        ("POST", "/models/tiny/report/acknowledge", {}, 1),
        ("POST", "/feedback", {}, 3),
        ("GET", "/models", {}, 3),
        ("GET", "/models/tiny/report", {}, 3),
    ],
)
def test_only_what_records_nothing_twice_is_sent_again(
    method: str, path: str, headers: dict[str, str], times: int, tmp_path: Path, certificate: Path
) -> None:
    servers = [Deaf(), Deaf()]
    places = {
        f"10.0.0.{number}:{port}": f"127.0.0.1:{server.port}"
        for number, server in enumerate(servers, 1)
        for port in PORTS
    }
    proxy = Proxy(tmp_path, certificate, places)
    try:
        wait_until(proxy.ready)
        assert proxy.ask(method, path, headers) == 502
    finally:
        proxy.stop()
        for server in servers:
            server.stop()
    asked = [line for server in servers for line in server.asked]
    assert asked == [f"{method} {path} HTTP/1.1"] * times


class Named:
    """A process that is ready, and answers every request with its name."""

    def __init__(self, name: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def served_apart() -> set[str]:
    """The paths of a server whose monitor is apart."""
    endpoints = (*SERVED, *SERVER_PAGES, *TRIALS, *DESCRIPTION, *V2)
    return {each.path for each in endpoints}


def test_every_page_and_route_reaches_a_process_that_has_it(
    tmp_path: Path, certificate: Path
) -> None:
    """With CANDOR_MONITOR=apart, as docs/how-to/proxy.md starts them."""
    monitored = {each.path for each in MONITORED} - {METRICS.path}
    named = {port: Named(name) for port, name in ((8080, "server"), (8090, "monitor"))}
    places = {
        f"10.0.0.{number}:{port}": f"127.0.0.1:{each.port}"
        for number in (1, 2)
        for port, each in named.items()
    }
    proxy = Proxy(tmp_path, certificate, places)
    try:
        wait_until(proxy.ready)
        reached = {
            path: proxy.client.get(re.sub(r"\{\w+\}", "x", path)).text
            for path in sorted(monitored | served_apart())
        }
    finally:
        proxy.stop()
        for each in named.values():
            each.stop()
    lacking = {
        path
        for path, name in reached.items()
        if path not in (monitored if name == "monitor" else served_apart())
    }
    assert lacking == set()
    # its first page lists the models of the ledger; what acts on versions reads it as well
    acts = ("/", "/versions/{model}", "/recalibrate/{model}")
    assert {reached[path] for path in acts} == {"monitor"}
