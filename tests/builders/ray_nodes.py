"""A Ray cluster of several node processes on this machine: `python -m tests.builders.ray_nodes CPUS
CPUS ...`.

It prints the address once the nodes are there; the first number is that of the head. `kill` on its
standard input ends the newest node as a power cut would, `add` adds one like it; each is answered
by a line. The end of the input ends the cluster.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class RayNodes:
    """The cluster, in a process of its own; use it in a `with`. `environment`: what the nodes have
    too.
    """

    def __init__(self, *cpus: int, environment: dict[str, str] | None = None) -> None:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")
        }
        own = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.builders.ray_nodes", *map(str, cpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=inherited | own | (environment or {}),
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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
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
    for pid in [found for each in processes for found in _with_descendants(each)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


def _with_descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(found for child in children for found in _with_descendants(int(child)))]


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
