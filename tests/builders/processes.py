"""Commands of Candor that run until they are ended, and waiting for a condition."""

import inspect
import os
import random
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, Self, TypeVar

import httpx
from click.testing import Result
from typer.testing import CliRunner

PATIENCE_S = 300.0
CANDOR = (sys.executable, "-m", "candor")
T = TypeVar("T")


def wait_until(true: Callable[[], T], what: str | None = None) -> T:
    """The first true value of `true()`. A failure says for `what` it waited, or by which code."""
    end_s = time.monotonic() + PATIENCE_S
    while not (value := true()):
        if time.monotonic() > end_s:
            awaited = what or (inspect.getsource(true) if inspect.isfunction(true) else true)
            raise AssertionError(f"it did not happen within {PATIENCE_S:.0f} s: {awaited}")
        time.sleep(0.02)
    return value


def environment(**settings: object) -> dict[str, str]:
    """The variables of this process, with these settings in place of Candor's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")}
    return kept | {f"CANDOR_{name.upper()}": str(value) for name, value in settings.items()}


def candor(
    *words: object,
    folder: Path | None = None,
    timeout_s: float = PATIENCE_S,
    program: Sequence[str] = CANDOR,
    **variables: str,
) -> "subprocess.CompletedProcess[str]":
    """Run a command of Candor without settings but with these variables, and wait for its end."""
    return subprocess.run(
        [*program, *map(str, words)],
        cwd=folder,
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def candor_here(*words: object, **options: Any) -> Result:
    """Run a command in this process, which has imported everything; options of `invoke`."""
    from candor.command_line import app

    return CliRunner().invoke(app, [*map(str, words)], **options)


class Process:
    """`candor serve` or `candor monitor` on a free port, with its log in a file of `folder`.

    `command` takes the place of the verb's, and `start` that of a process of this machine.
    """

    def __init__(
        self,
        verb: str,
        folder: Path,
        *,
        command: Sequence[str] = (),
        start: Callable[..., Any] = subprocess.Popen,
        variables: Mapping[str, str] | None = None,
        **settings: object,
    ) -> None:
        self.log_file = folder / f"{verb}.log"
        with self.log_file.open("ab") as log:
            self.process = start(
                command or [*CANDOR, verb],
                env=environment(**{"port": 0} | settings) | dict(variables or {}),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @cached_property
    def url(self) -> str:
        """Waits until it listens."""
        for line in self.process.stdout:
            if line.startswith(("Candor serves on http", "Candor monitors on http")):
                return str(line.split()[-1])
        raise AssertionError(self.log()[-3000:])

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @cached_property
    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def get(self, path: str) -> Any:
        return self.client.get(path).json()

    def ready(self, url: str | None = None) -> bool:
        """Whether it is, at `url` or where it says that it listens."""
        with suppress(httpx.TransportError):
            return httpx.get(f"{url or self.url}/readyz", timeout=30).status_code == 200
        return False

    def await_ready(self, url: str | None = None) -> Self:
        wait_until(lambda: self.ready(url), "a server that is ready")
        return self

    def log(self) -> str:
        return self.log_file.read_text()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def exit_code(self) -> int:
        return int(self.process.wait(timeout=PATIENCE_S))

    def end(self, number: int = SIGTERM) -> int:
        """Send a signal and wait."""
        self.signal(number)
        code = self.exit_code()
        self._close()
        return code

    def stop(self) -> None:
        """Kill it if it still runs."""
        if "client" in self.__dict__:
            self.client.close()
        if self.process.poll() is None:
            self.end(SIGKILL)
        self._close()

    def _close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to whoever asks for any."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def child_pids(pid: int) -> list[int]:
    """The children of a process' main thread."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in tasks.read_text().split()]
    except OSError:
        return []


def runs(pid: int) -> bool:
    """Whether a process is there and more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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
