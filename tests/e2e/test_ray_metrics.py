"""Metrics under `--engine ray`: every replica is found, counters add up to the answers."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("ray", reason="install the extra `ray`: make test-ray")

from model_store.store.store import Store
from tests.builders.processes import wait_until
from tests.builders.prometheus import Program
from tests.builders.ray_cluster import RayNodes
from tests.builders.ray_server import PNG, TOKEN, RayServer

pytestmark = pytest.mark.nightly
OWN = {"authorization": f"Bearer {TOKEN}"}
SENT = 60
CONFIGURATION = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: candor
    authorization: {{credentials: {token}}}
    http_sd_configs:
      - {{url: "{url}/metrics/targets", refresh_interval: 1s, authorization: {{credentials: {token}}}}}
"""


@pytest.fixture
def server(
    ray_nodes: RayNodes, ray_ledger: str, tiny_store: Store, tmp_path: Path
) -> Iterator[RayServer]:
    replicas = {"ray_min_replicas": 3, "ray_max_replicas": 3}
    started = RayServer(ray_nodes.joining, tiny_store.root, tmp_path, ledger=ray_ledger, **replicas)
    yield started.await_ready()
    assert started.end() == 0


def value_of(prometheus: Program, expression: str) -> float | None:
    """What an expression is now; None if there is no series yet."""
    found = prometheus.query(expression)
    return float(found[0]["value"][1]) if found else None


@pytest.mark.programs("prometheus")
def test_prometheus_finds_every_replica(
    ray_nodes: RayNodes, server: RayServer, tmp_path: Path
) -> None:
    def targets() -> list[str]:
        try:
            answer = httpx.get(f"{server.url}/metrics/targets", headers=OWN)
        except httpx.ReadError:  # cut with the replica that was lost: one of REPEATABLE
            return []
        return [] if answer.status_code == 503 else list(answer.json()[0]["targets"])

    wait_until(lambda: len(targets()) == 3, "the addresses of three replicas")
    for target in targets():
        assert httpx.get(f"http://{target}/metrics").json()["error"] == "unauthorized"
        assert (
            httpx.post(f"http://{target}/predictions/tiny", content=PNG, headers=OWN).status_code
            == 404
        )
    assert httpx.get(f"{server.url}/metrics/targets").json()["error"] == "unauthorized"
    found = Program("prometheus", tmp_path, CONFIGURATION.format(token=TOKEN, url=server.url))
    wait_until(lambda: value_of(found, "sum(up)") == 3, "scrapes of three replicas")
    for _ in range(SENT):  # a new connection for each: Ray spreads requests, not connections
        assert (
            httpx.post(f"{server.url}/predictions/tiny", content=PNG, headers=OWN).status_code
            == 200
        )
    wait_until(
        lambda: value_of(found, "sum(candor_predictions_total)") == SENT,
        "every answer, counted once",
    )
    assert (value_of(found, "count(count by (instance) (candor_predictions_total > 0))") or 0) > 1
    assert value_of(found, "count(candor_build_info)") == 3
    gone = set(targets())
    ray_nodes.kill()
    wait_until(
        lambda: len(targets()) == 2 and set(targets()) < gone, "that the lost replica is left out"
    )
    wait_until(lambda: value_of(found, "count(up)") == 2, "that Prometheus leaves it out, too")
    ray_nodes.add()
    wait_until(lambda: value_of(found, "sum(up)") == 3, "the replica in its place")
    found.stop()
