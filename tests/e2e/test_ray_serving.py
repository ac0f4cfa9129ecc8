"""`candor serve --engine ray` on a cluster of several nodes: a single server's answers, and none lost with a node."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

pytest.importorskip("ray", reason="install the extra `ray`: make test-ray")

from model_store.store import Store
from tests.builders.bundles import encode, picture
from tests.builders.object_store import free_port
from tests.builders.postgres import Cluster
from tests.builders.ray_nodes import RayNodes
from tests.builders.servers import Server
from tests.builders.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.e2e
TOKEN = "t" * 32
NOT_COMPARED = {"date", "server", "content-length"}  # the ids differ in length
PNG = encode(picture(), "PNG")


class RayServer:
    """`candor serve --engine ray` on a cluster, in a process of its own."""

    def __init__(self, nodes: RayNodes, store: Store, folder: Path, **settings: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")}
        defaults = {"engine": "ray", "store": str(store.root), "port": str(free_port()), "ray_min_replicas": "2"}
        environment |= {f"CANDOR_{name.upper()}": value for name, value in (defaults | settings).items()}
        environment |= {"RAY_ADDRESS": nodes.address}
        self.log = folder / "ray-server.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "candor", "serve"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.url = ""
        for line in self.process.stdout:
            if line.startswith("Candor serves on"):
                self.url = line.split()[-1]
                break
        assert self.url, self.log.read_text()[-3000:]
        wait_until(lambda: httpx.get(f"{self.url}/readyz", timeout=PATIENCE_S).status_code == 200)

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=PATIENCE_S)
        self.process.stdout.close()
        return code


@pytest.fixture
def url(postgres: Cluster) -> str:
    return postgres.make_database("ray")


@pytest.fixture
def nodes(url: str) -> Iterator[RayNodes]:
    """A head without replicas, and three nodes for one replica each, whose environment has the secrets."""
    with RayNodes(0, 1, 1, 1, environment={"CANDOR_LEDGER": url, "CANDOR_TOKENS": f"{TOKEN} admin"}) as running:
        yield running


def requests() -> Iterator[tuple[str, str, bytes | None, dict[str, str]]]:
    """Requests of every kind: good, refused by each part of the way, and to other routes."""
    own = {"authorization": f"Bearer {TOKEN}"}
    path = "/predictions/tiny"
    yield "POST", path, PNG, own
    yield "POST", path, PNG, own | {"x-request-id": "2f1d9a52-0c5b-4a3e-9d1c-3f2a6b7c8d9e"}
    yield "POST", f"{path}/1?explain=occlusion", PNG, own
    yield "POST", path, json.dumps([]).encode(), own | {"content-type": "application/json"}
    yield "POST", path, b"", own
    yield "POST", path, b"no image", own
    yield "POST", path, PNG[:60], own
    yield "POST", path, PNG, own | {"content-type": "text/html"}
    yield "POST", path, PNG, own | {"x-candor-tags": "no tag"}
    yield "POST", "/predictions/other", PNG, own
    yield "POST", f"{path}/7", PNG, own
    yield "POST", path, PNG, {}
    yield "GET", path, None, own
    yield "GET", "/models", None, own
    yield "GET", "/readyz", None, {}
    yield "GET", "/nothing", None, own
    yield "GET", "/v2/models/tiny", None, own
    yield "POST", "/feedback", b"{", own
    yield "GET", "/calibration/tiny", None, own | {"host": "evil.example"}


def told(client: httpx.Client, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
    """What is compared of an answer: everything but its id and time."""
    answer = client.request(method, path, content=body, headers=headers)
    shown = answer.json() if answer.headers["content-type"].startswith("application/json") else answer.text
    if isinstance(shown, dict) and "prediction_id" in shown:
        assert len(shown.pop("prediction_id")) == 36
    return answer.status_code, shown, {k: v for k, v in answer.headers.items() if k not in NOT_COMPARED}


def test_every_answer_is_that_of_a_single_server(
    nodes: RayNodes, url: str, tiny_store: Store, tmp_path: Path, postgres: Cluster
) -> None:
    secrets = {"tokens": f"{TOKEN} admin"}
    cluster = RayServer(nodes, tiny_store, tmp_path, ledger=url, **secrets)
    single = Server(tiny_store.root, tmp_path, ledger=postgres.make_database("single"), **secrets)
    try:
        with httpx.Client(base_url=cluster.url, timeout=PATIENCE_S) as client:
            for request in requests():
                assert told(client, *request) == told(single.client, *request), request[:2]
            metrics = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
            assert (metrics.status_code, metrics.json()["error"]) == (404, "metrics_elsewhere")
        assert cluster.stop() == 0
    finally:
        cluster.process.kill()
        single.stop()


class Traffic(threading.Thread):
    """Sends images one after another until stopped; every failure must be one that a client can see and repeat."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url, self._stopped = url, threading.Event()
        self.ids: list[str] = []
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._stopped.is_set():
            with httpx.Client(base_url=self._url, timeout=30, headers={"authorization": f"Bearer {TOKEN}"}) as client:
                self._send(client)

    def _send(self, client: httpx.Client) -> None:
        """Until something fails: its connection may lead to a proxy that is gone."""
        while not self._stopped.is_set():
            try:
                answer = client.post("/predictions/tiny", content=PNG)
            except httpx.TransportError as error:
                self.failures.append(type(error).__name__)
                return
            if answer.status_code == 200:
                self.ids.append(answer.json()["prediction_id"])
            else:
                is_json = answer.headers["content-type"] == "application/json"
                self.failures.append(
                    answer.json()["error"] if is_json else f"{answer.status_code}: {answer.text[:200]}"
                )
                return

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def test_with_a_node_no_acknowledged_answer_is_lost(
    nodes: RayNodes, url: str, tiny_store: Store, tmp_path: Path
) -> None:
    server = RayServer(nodes, tiny_store, tmp_path, ledger=url, tokens=f"{TOKEN} admin", ray_min_replicas="3")
    traffic = [Traffic(server.url) for _ in range(6)]
    for thread in traffic:
        thread.start()

    def answered() -> int:
        return sum(len(thread.ids) for thread in traffic)

    try:
        for _ in range(2):
            before = answered()
            wait_until(lambda least=before + 300: answered() > least, "answers before a kill")
            nodes.kill()
            before = answered()
            wait_until(lambda least=before + 300: answered() > least, "answers after a kill")
            nodes.add()
    finally:
        for thread in traffic:
            thread.stop()
    failures = [each for thread in traffic for each in thread.failures]
    assert set(failures) <= {"replica_lost", "ReadError", "RemoteProtocolError", "ConnectError", "ReadTimeout"}
    acknowledged = [key for thread in traffic for key in thread.ids]
    assert server.stop() == 0
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        rows = connection.execute("SELECT encode(prediction_id, 'hex') FROM prediction").fetchall()
    stored = [row[0] for row in rows]
    assert len(set(stored)) == len(stored)
    assert {key.replace("-", "") for key in acknowledged} <= set(stored)
    assert len(set(acknowledged)) == len(acknowledged)
    assert len(stored) - len(acknowledged) <= len(failures)  # recorded, but the client was not told any more
    check = [sys.executable, "-m", "candor", "ledger", "check", "--ledger", url]
    recount = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (recount.returncode, "all agree" in recount.stdout) == (0, True), recount.stdout
    print(f"{len(acknowledged)} acknowledged, {len(stored)} stored, failures: {sorted(failures)}")


def test_what_does_not_start_says_why(nodes: RayNodes, url: str, tiny_store: Store, tmp_path: Path) -> None:
    other = url.replace("/ray", "/other").replace("candor@", "candor:word@")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")}
    environment |= {"RAY_ADDRESS": nodes.address, "CANDOR_LEDGER": other, "CANDOR_STORE": str(tiny_store.root)}
    command = [sys.executable, "-m", "candor", "serve", "--engine", "ray", "--port", str(free_port())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "candor: the replicas do not start: this node has the ledger" in done.stderr.replace("\n", " ")
    assert "word" not in done.stderr.replace("password", "")
