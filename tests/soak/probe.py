"""Watches a server from a process of its own: how long health checks and a small image take, and
its memory.

Started by `Probe`, which sends "begin" and "report" to its standard input. A probe waits for the
answer to its last request, so a pause of one second would be a single sample. Each sample is
therefore joined by those that regular requests would have had meanwhile.
"""

import http.client
import json
import resource
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_PAUSE_S = 0.004
_PROBES_AFTER = 4  # answers that a report waits for: what is under way counts


@dataclass(frozen=True)
class Watched:
    """Seconds at the 99th percentile and at most; how many; failures; peak memory."""

    p99_s: float
    longest_s: float
    probes: int
    failures: list[str]
    peak_mb: float


class Probe:
    """Probes `port`, where process `pid` serves, over TLS with a certificate."""

    def __init__(self, port: int, pid: int, image: Path, certificate: Path | None = None) -> None:
        command = [sys.executable, "-m", "tests.soak.probe", str(port), str(pid), str(image)]
        self._process = subprocess.Popen(
            [*command, *([str(certificate)] if certificate else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self) -> None:
        """Forget what was seen."""
        self._say("begin")

    def report(self) -> Watched:
        """What was seen since `begin`."""
        return Watched(**json.loads(self._say("report")))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _say(self, word: str) -> str:
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


def memory_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    pages = 0
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        children = []
    for each in {pid, *children}:
        try:
            pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * resource.getpagesize() / 2**20


class _Watch:
    """The two kinds of probes in turns, and the memory, until the process ends."""

    def __init__(self, port: int, pid: int, image: bytes, certificate: str | None) -> None:
        self._port, self._pid, self._image = port, pid, image
        self._tls = None if certificate is None else ssl.create_default_context(cafile=certificate)
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self.peak_mb = 0.0
        self._ended = 0  # probes that were answered or failed
        threading.Thread(target=self._probe, daemon=True).start()
        threading.Thread(target=self._weigh, daemon=True).start()

    def begin(self) -> None:
        self.seconds, self.failures, self.peak_mb = [], [], 0.0

    def _probe(self) -> None:
        while True:
            connection = self._connection()
            try:
                while True:
                    self._ask(connection, "GET", "/healthz", None)
                    self._ask(connection, "POST", "/predictions/tiny", self._image)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                self._ended += 1
                time.sleep(_PAUSE_S)

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=120, context=self._tls)

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
    ) -> None:
        started_s = time.perf_counter()
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        waited_s = time.perf_counter() - started_s
        self.seconds += np.arange(waited_s, 0, -_PAUSE_S).tolist()
        self._ended += 1
        if answer.status != 200:
            self.failures.append(f"{path}: {answer.status}")
        time.sleep(_PAUSE_S)

    def _weigh(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, memory_mb(self._pid))
            time.sleep(5 * _PAUSE_S)

    def report(self) -> str:
        enough = self._ended + _PROBES_AFTER
        while self._ended < enough:
            time.sleep(_PAUSE_S)
        seconds = sorted(self.seconds)
        p99_s = seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
        return json.dumps(
            {
                "p99_s": p99_s,
                "longest_s": seconds[-1],
                "probes": len(seconds),
                "failures": self.failures[:5],
                "peak_mb": self.peak_mb,
            }
        )


def _main(port: str, pid: str, image: str, certificate: str | None = None) -> None:
    watch = _Watch(int(port), int(pid), Path(image).read_bytes(), certificate)
    for line in sys.stdin:
        if line.strip() == "begin":
            watch.begin()
            print("begun", flush=True)
        else:
            print(watch.report(), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
