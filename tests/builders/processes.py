"""Commands of Candor that run until they are ended, and waiting for a condition."""

import os
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import httpx

PATIENCE_S = 300.0
T = TypeVar("T")


def wait_until(true: Callable[[], T], what: str = "a condition") -> T:
    """The first true value of `true()`."""
    end_s = time.monotonic() + PATIENCE_S
    while not (value := true()):
        assert time.monotonic() < end_s, f"it did not happen within {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.02)
    return value


DEFAULTS = {"port": "0"}


class Process:
    """`candor serve` or `candor monitor` on a free port."""

    def __init__(self, verb: str, folder: Path, **settings: str) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")
        }
        environment |= {
            f"CANDOR_{name.upper()}": value for name, value in (DEFAULTS | settings).items()
        }
        self._log = folder / f"{verb}.log"
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "candor", verb]
            self._process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )

    @cached_property
    def client(self) -> httpx.Client:
        """Waits until it listens."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("Candor "), self._log.read_text()
        return httpx.Client(base_url=line.split()[-1], timeout=PATIENCE_S)

    def get(self, path: str) -> Any:
        return self.client.get(path).json()

    def end(self, number: int) -> int:
        """Send a signal and wait."""
        self._process.send_signal(number)
        return self._process.wait(timeout=PATIENCE_S)

    def close(self) -> None:
        self.client.close()
        if self._process.poll() is None:
            self.end(signal.SIGKILL)
        assert self._process.stdout is not None
        self._process.stdout.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def children(pid: int, module: str) -> list[int]:
    """The ids of the children of process `pid` that run `module`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and module.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def own_environment(name: str, *requirements: str) -> Path:
    """The folder of the programs of an environment that has `requirements`."""
    folder = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "candor" / "clients" / name
    )
    programs, done = folder / "bin", folder / "installed"
    if not done.is_file():
        venv.create(folder, with_pip=True, clear=True)
        install = [programs / "python", "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(install, check=True, timeout=900)
        done.touch()
    return programs
