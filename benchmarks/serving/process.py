"""A server's process: its start, first answer, memory, processor time and end."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.serving.exchange import Request, ask

START_S = 90.0
END_S = 20.0
PARENT, BORN = 1, 19  # fields of /proc/PID/stat after the name


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
        return _resident_mb(self._process.pid)

    def terminate(self) -> None:
        """Send SIGTERM to the started process only, as an orchestrator does."""
        self._seen |= _tree(self._process.pid)
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Send SIGTERM, and later SIGKILL to every process that is left."""
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        self._seen |= _tree(self._process.pid)
        for pid, born in self._seen.items():
            with suppress(OSError, IndexError):
                if _status(pid)[BORN] == born:
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


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name. Raises OSError for a process that has ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _tree(pid: int) -> dict[int, str]:
    """The process ids of a process and its descendants, with when each was born: ids are reused."""
    children: dict[int, list[int]] = {}
    born = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            fields = _status(int(entry.name))
            children.setdefault(int(fields[PARENT]), []).append(int(entry.name))
            born[int(entry.name)] = fields[BORN]
    members = [pid]
    for member in members:
        members += children.get(member, [])
    return {member: born[member] for member in members if member in born}


def _resident_mb(pid: int) -> float:
    """Resident memory of a process and its descendants, MB; pages that they share count in each."""
    pages = 0
    for member in _tree(pid):
        with suppress(OSError, IndexError):
            pages += int(Path(f"/proc/{member}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
