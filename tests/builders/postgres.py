"""A PostgreSQL of the tests' own: temporary, killed at will.

It does not wait for the disk, which only a power cut of this machine could show.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.builders.processes import PATIENCE_S, child_pids, free_port, runs


class Cluster:
    """One server on a free port; run by the account `postgres` instead of root."""

    def __init__(
        self,
        programs: Path,
        *,
        below: Path | None = None,
        address: str = "127.0.0.1",
        network: str | None = None,
    ) -> None:
        """`programs`: the folder of initdb and postgres.

        `below`: where its folder is made, if not where temporary folders are.

        `address`: one more address of this machine, at which it takes connections from hosts in
            `network`.
        """
        self._address = address
        self._programs = programs
        self._user = "postgres" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="candor-postgres-", dir=below))
        self._process: subprocess.Popen[bytes] | None = None
        self._databases: set[str] = set()
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        options = ["-U", "candor", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        self._run([str(programs / "initdb"), "-D", str(self._folder / "data"), *options])
        if network is not None:
            with (self._folder / "data" / "pg_hba.conf").open("a") as allowed:
                allowed.write(f"host all all {network} trust\n")
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Start, or start again after a kill; returns when it takes connections."""
        addresses = ",".join(sorted({"127.0.0.1", self._address}))
        self._process = self._server("data", port=self.port, listen_addresses=addresses)
        self._await_connections()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9 of all its processes."""
        os.kill(self._process.pid, signal.SIGSTOP)  # or it might start another process meanwhile
        children = child_pids(self._process.pid)
        for pid in (self._process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        while any(runs(pid) for pid in children):  # they hold the shared memory until they are gone
            time.sleep(0.01)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """All its processes are there and do nothing: connections are taken, nothing is answered."""
        pids = [self.pid, *child_pids(self.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def without_standby(self) -> Iterator[None]:
        """Commits wait for a standby that is gone; what only reads does not."""
        with psycopg.connect(self._where("postgres"), autocommit=True) as connection:
            for name in ("nobody", ""):
                connection.execute(
                    f"ALTER SYSTEM SET synchronous_standby_names = '{name}'".encode()
                )
                connection.execute("SELECT pg_reload_conf()")
                if name:
                    try:
                        time.sleep(0.2)  # every session reads the setting
                        yield
                    finally:
                        connection.execute("SET synchronous_commit = local")

    def make_database(self, name: str = "ledger") -> str:
        """The URL of an empty database; an old one of the name is emptied, which is quicker."""
        with psycopg.connect(self._where("postgres"), autocommit=True) as connection:
            if name not in self._databases:
                self._databases.add(name)
                connection.execute(f"CREATE DATABASE {name}".encode())
        with psycopg.connect(self._where(name), autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return f"postgresql+psycopg://candor@{self._address}:{self.port}/{name}"

    @contextlib.contextmanager
    def replica(self) -> Iterator[int]:
        """The port of a server that follows this one, in recovery for ever."""
        folder = self._folder / "replica"
        source = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "candor"]
        self._run(
            [str(self._programs / "pg_basebackup"), *source, "-D", str(folder), "-R", "-c", "fast"]
        )
        port = free_port()
        process = self._server("replica", port=port, listen_addresses="127.0.0.1")
        try:
            yield port
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Stop it and remove everything."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _server(self, data: str, **settings: object) -> "subprocess.Popen[bytes]":
        settings |= {"unix_socket_directories": "", "max_connections": 60}
        settings |= {"logging_collector": "off", "fsync": "off", "shared_buffers": "64MB"}
        command = [str(self._programs / "postgres"), "-D", str(self._folder / data)]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, user=self._user, cwd=self._folder
            )

    def _where(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=candor dbname={database}"

    def _await_connections(self, timeout_s: float = PATIENCE_S) -> None:
        give_up = time.monotonic() + timeout_s
        while self._process.poll() is None and time.monotonic() < give_up:
            try:
                psycopg.connect(self._where("postgres")).close()
            except psycopg.OperationalError:  # starting, or recovering from a kill
                time.sleep(0.05)
            else:
                return
        log = (self._folder / "log").read_text()
        self.close()
        raise RuntimeError(f"PostgreSQL did not start: {log[-2000:]}")

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, user=self._user, cwd=self._folder, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.decode()}")
