"""What is harmed: `candor serve`, its database, the network between them, the disk."""

from pathlib import Path

from model_store.store.store import Store
from tests.builders.bundles import publish_tiny
from tests.builders.postgres import Cluster
from tests.builders.processes import Process, free_port
from tests.builders.programs import find
from tests.builders.triggered import publish_triggered
from tests.soak.disk import Disk
from tests.soak.partition import Network

TRIGGERED = {"triggered-loop": "Loop", "triggered-expand": "Expand"}  # after tiny, by name
DISK_MB = {"sqlite": 512, "postgresql": 2048}


class Site:
    """A store, a ledger in `database` ("sqlite" or "postgresql") and a server, all in `folder`."""

    def __init__(self, folder: Path, database: str) -> None:
        self._folder = folder
        publish_tiny(folder / "store")
        for name, kind in TRIGGERED.items():
            publish_triggered(Store(folder / "store"), kind, folder, name)
        self.disk = Disk(size_mb=DISK_MB[database])
        self.cluster: Cluster | None = None
        self.network: Network | None = None
        self.file = self.disk.folder / "ledger.db"
        self.ledger_url = self._server_url = f"sqlite:///{self.file}"
        if database == "postgresql":
            initdb = find("initdb")
            if initdb is None:
                raise RuntimeError("PostgreSQL is not installed")
            below = self.disk.folder if self.disk.mounted else None
            self.cluster = Cluster(initdb.resolve().parent, below=below)
            self.ledger_url = self.cluster.make_database()
            self.network = Network(self.cluster.port)
            self._server_url = self.ledger_url.replace(
                f":{self.cluster.port}/", f":{self.network.port}/"
            )
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._server: Process | None = None

    def start_server(self) -> None:
        """Start it, and wait until it is ready."""
        self._server = Process(
            "serve",
            self._folder,
            store=self._folder / "store",
            ledger=self._server_url,
            port=self._port,
            threads=1,
            drift_average_run_length=1000,  # so quick that alarms happen
            deadline_s=30,
        ).await_ready()

    @property
    def server_pid(self) -> int:
        """The server's process id."""
        return int(self._server.process.pid)

    def kill_server(self) -> None:
        """kill -9."""
        self._server.stop()

    def kill_database(self) -> None:
        """kill -9 of PostgreSQL and all its processes; SQLite lives and dies with the server."""
        self.cluster.kill()
        self.cluster.start()

    def close(self) -> None:
        """Stop everything."""
        if self._server is not None:
            self._server.stop()
        if self.network is not None:
            self.network.close()
        if self.cluster is not None:
            self.cluster.close()
        self.disk.close()
