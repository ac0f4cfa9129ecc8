"""A server's process and its descendants: memory, processor time, first answer, and end."""

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
TIMES = slice(11, 15)  # in user and system mode, of the process and of its children that ended


class CannotStart(RuntimeError):
    """The server ended or did not answer in time; the message contains the end of its output."""


class Process:
    """A started server at `port`; `started_s` is when (perf_counter)."""

    def __init__(
        self, command: Sequence[str], *, port: int, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.port = port
        self._log = folder / "server.log"
        # Descendants with their start time: children of a dead parent cannot be found, and process
        # ids are reused.
        self._seen: dict[int, str] = {}
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
                raise CannotStart(f"it ended with {self._process.returncode}: {self._said()}")
            with suppress(OSError):
                if ask(self.port, request, timeout_s=START_S) == 200:
                    return time.perf_counter() - self.started_s
            time.sleep(0.01)
        raise CannotStart(f"no answer in {START_S:.0f} s: {self._said()}")

    def rss_mb(self) -> float:
        """Resident memory of the process and its descendants, MB; pages that they share count in
        each.
        """
        return sum(map(_rss_bytes, self._tree())) / 2**20

    def cpu_s(self) -> float:
        """Processor time of the process and its descendants so far, in seconds."""
        return sum(map(_cpu_s, self._tree()))

    @property
    def pid(self) -> int:
        """The process id of the started process."""
        return self._process.pid

    def terminate(self) -> None:
        """Send SIGTERM to the started process only, as an orchestrator does."""
        self._tree()
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Send SIGTERM, and later SIGKILL to every process that is left."""
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        self._tree()
        for pid, born in self._seen.items():
            with suppress(OSError, IndexError):
                if _status(pid)[BORN] == born:
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def _tree(self) -> list[int]:
        children: dict[int, list[int]] = {}
        born: dict[int, str] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                pid = int(entry.name)
                status = _status(pid)
                children.setdefault(int(status[PARENT]), []).append(pid)
                born[pid] = status[BORN]
        found = [self._process.pid]
        for pid in found:
            found += children.get(pid, [])
        self._seen |= {pid: born[pid] for pid in found if pid in born}
        return found

    def _said(self) -> str:
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
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = tuple(each.getsockname()[1] for each in held)
    for each in held:
        each.close()
    return ports


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_s(pid: int) -> float:
    with suppress(OSError, IndexError):
        return sum(map(int, _status(pid)[TIMES])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _rss_bytes(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
