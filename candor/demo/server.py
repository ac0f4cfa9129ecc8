"""A `candor serve` process in which torch cannot be imported."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from serving.client import Client
from serving.errors import ServingError

START_S = 30.0
STOP_S = 30.0
# Importing a module that is None in sys.modules raises ImportError: this proves that serving needs
# no torch.
_PROGRAM = "import sys; sys.modules['torch'] = None; from candor.command_line import main; main()"


class ServerFailed(ServingError):
    """The server did not start."""


class ServerProcess:
    """Starts a server on a free port, and stops it with SIGTERM when the block ends.

    Attributes:
        url: address of the server.
        ready_s: seconds from the start until it was ready.
    """

    def __init__(self, *, store: Path, ledger: str, log: Path) -> None:
        self._command = [sys.executable, "-c", _PROGRAM, "serve", "--port", "0"]
        self._command += ["--store", str(store), "--ledger", ledger]
        self._log = log
        self.url = ""
        self.ready_s = 0.0

    def __enter__(self) -> Self:
        started = time.monotonic()
        with self._log.open("wb") as log:
            environment = {
                key: value for key, value in os.environ.items() if not key.startswith("CANDOR_")
            }
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, env=environment
            )
        self.url = self._read_url()
        with Client(self.url) as client:
            while not client.ready():
                if self._process.poll() is not None or time.monotonic() - started > START_S:
                    raise self._failure()
                time.sleep(0.02)
        self.ready_s = time.monotonic() - started
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it as an orchestrator would."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> None:
        """Wait until it has ended."""
        self._process.wait()

    def _read_url(self) -> str:
        """Return the address in the first line that the server prints once it listens."""
        line = self._process.stdout.readline() if self._process.stdout else b""
        found = re.search(r"https?://\S+", line.decode())
        if found is None:
            raise self._failure()
        return found[0]

    def _failure(self) -> ServerFailed:
        self._process.kill()
        tail = self._log.read_text(errors="replace").splitlines()[-3:]
        return ServerFailed(
            f"the server did not become ready within {START_S:.0f} s, or stopped; {self._log} "
            f"ends: {' | '.join(tail)}"
        )
