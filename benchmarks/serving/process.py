"""A server's process: its start, first answer, memory, processor time and end."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.processes import BORN, cpu_s, resident_mb, status, tree
from benchmarks.serving.exchange import Request, ask

START_S = 90.0
END_S = 20.0


class CannotStart(RuntimeError):
    """The server ended or did not answer in time; the message contains the end of its output."""


class Process:
    """A started server at `port`; `started_s` is when (perf_counter)."""

    def __init__(
        self, command: Sequence[str], *, port: int, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.port = port
        self._log = folder / "server.log"
        self._seen: dict[int, str] = {}  # descendants: those of a dead parent cannot be found
        self.started_s = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def first_answer_s(self, request: Request) -> float:
        """Seconds from the start to the first correct answer. Raises CannotStart."""
        while time.perf_counter() < self.started_s + START_S:
            if self._process.poll() is not None:
                raise CannotStart(f"it ended with {self._process.returncode}: {self._log_end()}")
            with suppress(OSError):
                if ask(self.port, request, timeout_s=START_S) == 200:
                    return time.perf_counter() - self.started_s
            time.sleep(0.01)
        raise CannotStart(f"no answer in {START_S:.0f} s: {self._log_end()}")

    def rss_mb(self) -> float:
        """Resident memory of the process and its descendants, MB."""
        return resident_mb(self._process.pid)

    def cpu_s(self) -> float:
        """Processor time of the process and its descendants so far, in seconds."""
        return cpu_s(self._process.pid)

    def terminate(self) -> None:
        """Send SIGTERM to the started process only, as an orchestrator does."""
        self._seen |= tree(self._process.pid)
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Send SIGTERM, and later SIGKILL to every process that is left."""
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        self._seen |= tree(self._process.pid)
        for pid, born in self._seen.items():
            with suppress(OSError, IndexError):
                if status(pid)[BORN] == born:
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def _log_end(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["nothing was said"]
        return " / ".join(lines[-3:])[-300:]


@contextmanager
def running(process: Process) -> Iterator[Process]:
    """End the process on exit."""
    try:
        yield process
    finally:
        process.end()


def free_ports(count: int) -> tuple[int, ...]:
    """Free ports of 127.0.0.1."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(each.getsockname()[1] for each in sockets)
