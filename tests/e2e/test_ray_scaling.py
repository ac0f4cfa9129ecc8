"""`candor serve --engine ray`: replicas come with load and go, and no answer is lost."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="install the extra `ray`: make test-ray")

from model_store.store.store import Store
from tests.builders.processes import wait_until
from tests.builders.ray_cluster import RayNodes
from tests.builders.ray_server import (
    REPEATABLE,
    RayServer,
    Traffic,
    answered,
    failures_of,
    require_recorded,
)

pytestmark = pytest.mark.nightly
RUNNING = """
import os
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from ray import serve
ray.init(logging_level="error", log_to_driver=False)
while input():
    server = serve.status().applications["candor"].deployments["server"]
    print("replicas", server.replica_states.get("RUNNING", 0), flush=True)
"""


class Replicas:
    """Asks Ray how many replicas run, from a process of its own."""

    def __init__(self, address: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUNNING],
            env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "RAY_ADDRESS": address},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def running(self) -> int:
        assert self._process.stdout is not None
        self._process.stdin.write("now\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if found := re.fullmatch(r"replicas (\d+)\n", line):
                return int(found[1])
        raise AssertionError("Ray does not answer")

    def close(self) -> None:
        self._process.communicate("\n")


def test_replicas_come_with_load_and_go_after_it(
    ray_nodes: RayNodes, ray_ledger: str, slow_store: Store, tmp_path: Path
) -> None:
    scaling = {
        "ray_min_replicas": "1",
        "ray_max_replicas": "3",
        "ray_upscale_s": "2",
        "ray_downscale_s": "5",
    }
    server = RayServer(
        ray_nodes.joining, slow_store.root, tmp_path, ledger=ray_ledger, max_batch="2", **scaling
    )
    server.await_ready()
    replicas = Replicas(ray_nodes.address)
    crowd, steady = [Traffic(server.url) for _ in range(10)], Traffic(server.url)
    assert replicas.running() == 1
    for thread in (*crowd, steady):
        thread.start()
    try:
        wait_until(lambda: replicas.running() == 3, "replicas on all nodes")
        before = answered(crowd)
        wait_until(lambda: answered(crowd) > before + 200, "answers of three replicas")
        for thread in crowd:
            thread.stop()
        wait_until(lambda: replicas.running() == 1, "one replica again")
        before = answered([steady])
        wait_until(lambda: answered([steady]) > before + 50, "answers of the replica that stayed")
    finally:
        for thread in (*crowd, steady):
            thread.stop()
        replicas.close()
    traffic = [*crowd, steady]
    assert set(failures_of(traffic)) <= REPEATABLE
    assert server.end() == 0
    require_recorded(ray_ledger, traffic)
