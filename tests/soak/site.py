"""What is harmed: a real `candor serve` with a tiny model, its database, the network between them,
and the disk.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from model_store.store.store import Store
from tests.builders.bundles import build_bundle
from tests.builders.postgres import Cluster, find_programs
from tests.soak.disk import Disk
from tests.soak.partition import Network

START_S = 120.0
DISK_MB = {"sqlite": 512, "postgresql": 2048}


class Site:
    """A store, a ledger in `database` ("sqlite" or "postgresql") and a server, all in `folder`."""

    def __init__(self, folder: Path, database: str) -> None:
        self._folder = folder
        store = Store(folder / "store")
        store.publish("tiny", build_bundle)
        store.promote("tiny", 1)
        self.disk = Disk(size_mb=DISK_MB[database])
        self.cluster: Cluster | None = None
        self.network: Network | None = None
        self.file = self.disk.folder / "ledger.db"
        self.ledger_url = self._server_url = f"sqlite:///{self.file}"
        if database == "postgresql":
            programs = find_programs()
            if programs is None:
                raise RuntimeError("PostgreSQL is not installed")
            self.cluster = Cluster(programs, below=self.disk.folder if self.disk.mounted else None)
            self.ledger_url = self.cluster.make_database()
            self.network = Network(self.cluster.port)
            self._server_url = self.ledger_url.replace(
                f":{self.cluster.port}/", f":{self.network.port}/"
            )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start_server(self) -> None:
        """Start it, and wait until it is ready. Raises RuntimeError, with its log, when it does not
        come up.
        """
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")
        }
        settings = {
            "store": self._folder / "store",
            "ledger": self._server_url,
            "port": self._port,
            "threads": 1,
        }
        settings |= {
            "drift_average_run_length": 1000,
            "deadline_s": 30,
        }  # so quick that alarms happen
        environment |= {f"CANDOR_{name.upper()}": str(value) for name, value in settings.items()}
        with (self._folder / "server.log").open("ab") as log:
            command = [sys.executable, "-m", "candor", "serve"]
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        log_end = (self._folder / "server.log").read_text()[-3000:]
        raise RuntimeError(f"the server did not become ready: {log_end}")

    @property
    def server_pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    def kill_server(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def kill_database(self) -> None:
        """kill -9 of PostgreSQL and all its processes; SQLite lives and dies with the server."""
        assert self.cluster is not None
        self.cluster.kill()
        self.cluster.start()

    def close(self) -> None:
        """Stop everything."""
        if self._process is not None and self._process.poll() is None:
            self.kill_server()
        if self.network is not None:
            self.network.close()
        if self.cluster is not None:
            self.cluster.close()
        self.disk.close()
