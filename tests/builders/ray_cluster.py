"""Ray clusters: processes of this machine (run as a program: CPUS CPUS ...), or hosts."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from tests.builders import processes
from tests.builders.hosts import Host, Inside
from tests.builders.processes import child_pids, wait_until

ROOT = Path(__file__).parents[2]


class RayNodes:
    """The cluster, for a `with`. `environment`: what the nodes have too."""

    def __init__(self, *cpus: int, environment: dict[str, str] | None = None) -> None:
        own = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.builders.ray_cluster", *map(str, cpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=processes.environment() | own | (environment or {}),
            text=True,
        )
        self.address = self._answer().rpartition(" ")[2]
        self.joining = {"RAY_ADDRESS": self.address}  # what a command needs

    def kill(self) -> None:
        """End the newest node, with all that runs on it."""
        self._ask("kill")

    def add(self) -> None:
        """Add a node."""
        self._ask("add")

    def __enter__(self) -> "RayNodes":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, what: str) -> None:
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("nodes:"):
                return line.strip()
        raise RuntimeError("the Ray cluster has ended")


def main(cpus: list[int]) -> None:
    """Run the cluster until the input ends."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": cpus[0], "include_dashboard": False}
    )
    nodes = [cluster.add_node(num_cpus=count) for count in cpus[1:]]
    print(f"nodes: {cluster.address}", flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            _kill(cluster, nodes.pop())
        else:
            nodes.append(cluster.add_node(num_cpus=cpus[-1]))
        print(f"nodes: {len(nodes)}", flush=True)
    cluster.shutdown()


def _kill(cluster: Any, node: Any) -> None:
    processes = [each.process.pid for kind in node.all_processes.values() for each in kind]
    for pid in processes:
        processes += child_pids(pid)
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])


PORT: Final = 6379
OWN: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
SMALL: Final = ["--object-store-memory", "100000000", "--include-log-monitor", "false"]


class RayHosts:
    """The first host is the head, each other one offers one core; for a `with`."""

    def __init__(self, hosts: Sequence[Host], environment: dict[str, str]) -> None:
        """`environment`: what every node has."""
        self.head, self.others = hosts[0], tuple(hosts[1:])
        self._environment = OWN | environment
        self._running: dict[Host, Inside] = {}
        self._starts = 0
        self.address = f"{self.head.address}:{PORT}"
        self.joining = OWN | {"RAY_ADDRESS": self.address}  # what a command on a host needs

    def __enter__(self) -> "RayHosts":
        self.head.run(["ray", "get-auth-token", "--generate"], OWN)
        for host in self.others:
            (host.home / ".ray").mkdir(mode=0o700, exist_ok=True)
            shutil.copy(self.head.home / ".ray" / "auth_token", host.home / ".ray" / "auth_token")
        self._start(
            self.head,
            ["--head", "--port", str(PORT), "--num-cpus", "0", "--include-dashboard", "false"],
        )
        for host in self.others:
            self.keep(host)
        return self

    def keep(self, host: Host) -> None:
        """Start the node of a host unless it runs: Ray ends one that it gave up."""
        if host not in self._running or self._running[host].poll() is not None:
            self._start(host, ["--address", self.address, "--num-cpus", "1"])

    def _start(self, host: Host, options: list[str]) -> None:
        self._starts += 1
        log = host.home / f"ray-start-{self._starts}.log"
        command = ["ray", "start", "--block", "--node-ip-address", host.address, *SMALL, *options]
        with log.open("wb") as output:
            process = host.popen(command, self._environment, stdout=output, stderr=output)
        self._running[host] = process
        wait_until(
            lambda: "Ray runtime started" in log.read_text() or process.poll() is not None,
            "a Ray node",
        )
        assert process.poll() is None, log.read_text()[-3000:]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for host in (self.head, *self.others):
            host.close()
        for process in self._running.values():
            process.wait()
