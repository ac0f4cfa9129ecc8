"""A server to which hostile bodies are sent, one after the other, while a probe watches it from
outside. Nothing may stop the others, and memory stays below its bound and comes back.

`python -m tests.soak.siege [CONNECTIONS [CERTIFICATE]]` prints what each flood costs others.
"""

import http.client
import ssl
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from tests.builders.bundles import encode, picture, publish_tiny
from tests.builders.hostile_bodies import HostileBody
from tests.builders.processes import wait_until
from tests.builders.servers import Server
from tests.soak.flood import KINDS, Flood
from tests.soak.probe import Probe, Watched, memory_mb

P99_S = 0.1
PEAK_MB = 1500
LEFT_MB = 100
SETTLE_S = 30
ANSWER_S = 120
FLOOD_P99_S = 1.0  # beside other tests; alone it is 0.1, and without a bound it was 1 to 5 s
AFTERWARDS_S = 0.6  # what a body leaves behind may hold up others too


@dataclass(frozen=True)
class Outcome:
    """The answer to a body, and what the probe saw meanwhile."""

    name: str
    size_mb: float
    status: int
    detail: str
    seconds: float
    watched: Watched

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        found = [f"the probe failed: {failure}" for failure in self.watched.failures]
        if self.status >= 500 or self.status == 0:
            found.append(f"answered {self.status}")
        if self.watched.p99_s > P99_S:
            found.append(f"others waited {self.watched.p99_s:.2f} s")
        if self.watched.peak_mb > PEAK_MB:
            found.append(f"memory of {self.watched.peak_mb:,.0f} MB")
        return found

    def __str__(self) -> str:
        return (
            f"{self.name:34} {self.size_mb:5.1f} MB  {self.status} after {self.seconds:6.2f} s  "
            "others p99 "
            f"{self.watched.p99_s * 1000:6.1f} ms, longest {self.watched.longest_s * 1000:6.1f}  "
            f"peak {self.watched.peak_mb:5.0f} MB  {self.detail[:90]}"
            + "".join(f"\n    FAULT: {fault}" for fault in self.faults)
        )


class Siege:
    """A server with default settings in `folder`, and a probe; over TLS with a certificate."""

    def __init__(self, folder: Path, certificate: Path | None = None, **settings: str) -> None:
        store = publish_tiny(folder / "store")
        image = folder / "small.png"
        image.write_bytes(encode(picture(), "PNG"))
        self._certificate = certificate
        if certificate is not None:
            settings["tls_certificate"] = str(certificate)
        self.server = Server(store.root, folder, **settings)
        if certificate is not None:
            tls = ssl.create_default_context(cafile=certificate)
            self.server.client = httpx.Client(base_url=self.server.url, timeout=120, verify=tls)
        wait_until(lambda: self.server.client.get("/readyz").status_code == 200)
        for _ in range(50):
            self.server.predict(image.read_bytes())
        time.sleep(2)  # the first decoding process has started
        self.before_mb = memory_mb(self.server.process.pid)
        self._probe = Probe(self.server.port, self.server.process.pid, image, certificate)

    def send(self, name: str, body: HostileBody) -> Outcome:
        """Send one body, and watch until it is answered and for a while after."""
        data = body.make()
        self._probe.begin()
        time.sleep(0.1)
        started_s = time.perf_counter()
        status, detail = self._post(body, data)
        seconds = time.perf_counter() - started_s
        time.sleep(AFTERWARDS_S)
        return Outcome(name, len(data) / 1e6, status, detail, seconds, self._probe.report())

    def flood(self, kind: str, *, connections: int, seconds: float) -> Watched:
        """What the probe saw while connections without a token sent what is much work to parse."""
        self._probe.begin()
        with Flood(self.server.port, kind, connections=connections, certificate=self._certificate):
            time.sleep(seconds)
            return self._probe.report()

    def flood_stops_nobody(self, kind: str, *, connections: int, most_mb: float) -> Watched:
        """Flood it for four seconds."""
        before_mb = memory_mb(self.server.process.pid)
        watched = self.flood(kind, connections=connections, seconds=4)
        assert watched.peak_mb - before_mb < most_mb, watched
        assert watched.p99_s < FLOOD_P99_S, watched
        assert self.server.client.get("/healthz").status_code == 200
        return watched

    def try_again(self, name: str, body: HostileBody) -> Outcome:
        """Send what others waited for up to three times: a busy machine holds up the probe too."""
        for _ in range(3):
            outcome = self.send(name, body)
            if not outcome.faults:
                break
        return outcome

    def left_mb(self) -> float:
        """Memory above that before the siege, once the server is at rest."""
        give_up = time.monotonic() + SETTLE_S
        while (
            left := memory_mb(self.server.process.pid) - self.before_mb
        ) > LEFT_MB and time.monotonic() < give_up:
            time.sleep(0.2)
        return left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._probe.close()
        self.server.stop()

    def _post(self, body: HostileBody, data: bytes) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=ANSWER_S)
        try:
            connection.request("POST", body.path, data, body.headers(data))
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error)
        finally:
            connection.close()


def print_floods(connections: int, certificate: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder, Siege(Path(folder), certificate) as siege:
        for kind in KINDS:
            before_mb = memory_mb(siege.server.process.pid)
            watched = siege.flood(kind, connections=connections, seconds=4)
            print(
                f"{kind:38} others p99 {1000 * watched.p99_s:6.1f} ms, longest "
                f"{1000 * watched.longest_s:6.1f}  {watched.peak_mb - before_mb:+5.0f} MB  "
                + "; ".join(watched.failures[:1]),
                flush=True,
            )


if __name__ == "__main__":
    count, *tls = sys.argv[1:] or ["10"]
    print_floods(int(count), Path(tls[0]) if tls else None)
