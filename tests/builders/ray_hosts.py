"""A Ray cluster whose nodes are hosts with addresses of their own, set up as docs/how-to/ray.md
says.
"""

import shutil
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from tests.builders.hosts import Host, Inside
from tests.builders.waiting import wait_until

PORT: Final = 6379
OWN: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
SMALL: Final = ["--object-store-memory", "100000000", "--include-log-monitor", "false"]


class RayHosts:
    """The first host is the head, without replicas; each of the others offers one core. Use it in a
    `with`.
    """

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
        """Start the node of a host unless it runs, as an init system does: Ray ends a node that it
        gave up.
        """
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
