"""`candor serve --engine ray`: a single server's answers, and none lost with a node."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("ray", reason="install the extra `ray`: make test-ray")

from model_store.store.store import Store
from tests.builders.postgres import Cluster
from tests.builders.processes import candor, free_port, wait_until
from tests.builders.ray_cluster import RayNodes
from tests.builders.ray_server import (
    PNG,
    REPEATABLE,
    TOKEN,
    RayServer,
    Traffic,
    answered,
    failures_of,
    require_recorded,
)
from tests.builders.servers import Server

pytestmark = pytest.mark.nightly
# the ids differ in length, and Ray gives one to each request that has none
NOT_COMPARED = {"date", "server", "content-length", "x-request-id"}


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
    yield "GET", "/models/tiny/report", None, own | {"host": "evil.example"}


def told(
    client: httpx.Client, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> Any:
    """What is compared of an answer: everything but ids and time."""
    answer = client.request(method, path, content=body, headers=headers)
    shown = (
        answer.json()
        if answer.headers["content-type"].startswith("application/json")
        else answer.text
    )
    if isinstance(shown, dict) and "prediction_id" in shown:
        assert len(shown.pop("prediction_id")) == 36
        shown.pop("request_id")
    return (
        answer.status_code,
        shown,
        {k: v for k, v in answer.headers.items() if k not in NOT_COMPARED},
    )


def test_every_answer_is_that_of_a_single_server(
    ray_nodes: RayNodes, ray_ledger: str, tiny_store: Store, tmp_path: Path, postgres: Cluster
) -> None:
    cluster = RayServer(ray_nodes.joining, tiny_store.root, tmp_path, ledger=ray_ledger)
    cluster.await_ready()
    single = Server(
        tiny_store.root, tmp_path, ledger=postgres.make_database("single"), tokens=f"{TOKEN} admin"
    )
    try:
        wait_until(lambda: single.client.get("/readyz").status_code == 200)
        with httpx.Client(base_url=cluster.url) as client:
            for request in requests():
                assert told(client, *request) == told(single.client, *request), request[:2]
            metrics = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
            assert (metrics.status_code, metrics.json()["error"]) == (404, "metrics_elsewhere")
        assert cluster.end() == 0
    finally:
        cluster.stop()
        single.stop()


def test_with_a_node_no_acknowledged_answer_is_lost(
    ray_nodes: RayNodes, ray_ledger: str, tiny_store: Store, tmp_path: Path
) -> None:
    server = RayServer(
        ray_nodes.joining, tiny_store.root, tmp_path, ledger=ray_ledger, ray_min_replicas="3"
    )
    server.await_ready()
    traffic = [Traffic(server.url) for _ in range(6)]
    for thread in traffic:
        thread.start()

    try:
        for _ in range(2):
            before = answered(traffic)
            wait_until(
                lambda least=before + 300: answered(traffic) > least, "answers before a kill"
            )
            ray_nodes.kill()
            before = answered(traffic)
            wait_until(lambda least=before + 300: answered(traffic) > least, "answers after a kill")
            ray_nodes.add()
    finally:
        for thread in traffic:
            thread.stop()
    assert set(failures_of(traffic)) <= REPEATABLE
    assert server.end() == 0
    server.stop()  # closes its pipe
    require_recorded(ray_ledger, traffic)


def test_what_does_not_start_says_why(
    ray_nodes: RayNodes, ray_ledger: str, tiny_store: Store, tmp_path: Path
) -> None:
    variables = {
        "RAY_ADDRESS": ray_nodes.address,
        "CANDOR_LEDGER": ray_ledger.replace("/ray", "/other").replace("candor@", "candor:word@"),
        "CANDOR_STORE": str(tiny_store.root),
    }
    done = candor("serve", "--engine", "ray", "--port", free_port(), **variables)
    assert done.returncode == 1
    assert "this node has the ledger" in " ".join(done.stderr.split())
    assert "word" not in done.stderr.replace("password", "")
