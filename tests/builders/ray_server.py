"""`candor serve --engine ray`, steady traffic to it, and what the ledger must hold."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.builders.bundles import encode, picture
from tests.builders.processes import Process, candor, free_port

TOKEN = "t" * 32
PNG = encode(picture(), "PNG")
# What a client may see when a process ends, so that it sends the request again.
REPEATABLE = {"500", "503", "ReadError", "RemoteProtocolError", "ConnectError", "ReadTimeout"}


class RayServer(Process):
    """`candor serve --engine ray` on the cluster that the variables `joining` lead to, with
    `tokens` for TOKEN.

    `start` runs the command, by default on this machine.
    """

    def __init__(
        self,
        joining: dict[str, str],
        store: Path,
        folder: Path,
        *,
        start: Callable[..., Any] = subprocess.Popen,
        **settings: object,
    ) -> None:
        defaults = {"engine": "ray", "store": store, "port": free_port(), "ray_min_replicas": 2}
        defaults["tokens"] = f"{TOKEN} admin"
        super().__init__("serve", folder, start=start, variables=joining, **defaults | settings)
        assert self.url


class Traffic(threading.Thread):
    """Sends images one after another until stopped; after a failure, to the next of `urls`."""

    def __init__(self, *urls: str, timeout_s: float = 30.0) -> None:
        super().__init__()
        self._urls, self._timeout_s, self._stopped = urls, timeout_s, threading.Event()
        self.ids: list[str] = []
        self.answered_s: list[float] = []  # when each of them came
        self.failures: list[str] = []
        self.failed_s: list[float] = []

    def run(self) -> None:
        turn = 0
        headers = {"authorization": f"Bearer {TOKEN}"}
        while not self._stopped.is_set():
            url = self._urls[turn % len(self._urls)]
            with httpx.Client(base_url=url, timeout=self._timeout_s, headers=headers) as client:
                self._send(client)
            turn += 1

    def _send(self, client: httpx.Client) -> None:
        """Until something fails: its connection may lead to a proxy that is gone."""
        while not self._stopped.is_set():
            try:
                answer = client.post("/predictions/tiny", content=PNG)
            except httpx.TransportError as error:
                self._fail(type(error).__name__)
                return
            if answer.status_code != 200:
                self._fail(str(answer.status_code))
                return
            self.ids.append(answer.json()["prediction_id"])
            self.answered_s.append(time.monotonic())

    def _fail(self, what: str) -> None:
        self.failures.append(what)
        self.failed_s.append(time.monotonic())

    def stop(self) -> None:
        """Stop after the request that is on its way."""
        self._stopped.set()
        self.join()


def answered(traffic: Iterable[Traffic]) -> int:
    """How many answers arrived so far."""
    return sum(len(thread.ids) for thread in traffic)


def failures_of(traffic: Iterable[Traffic]) -> list[str]:
    """Everything that failed so far."""
    return [each for thread in traffic for each in thread.failures]


def require_recorded(url: str, traffic: Sequence[Traffic]) -> None:
    """The ledger holds every acknowledged answer once, and a row for a failure at most."""
    acknowledged = [key for thread in traffic for key in thread.ids]
    assert len(set(acknowledged)) == len(acknowledged)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        rows = connection.execute("SELECT encode(prediction_id, 'hex') FROM prediction").fetchall()
    stored = [row[0] for row in rows]
    assert len(set(stored)) == len(stored)
    assert {key.replace("-", "") for key in acknowledged} <= set(stored)
    failures = failures_of(traffic)
    # recorded, but the client was not told any more
    assert len(stored) - len(acknowledged) <= len(failures)
    recount = candor("ledger", "check", "--ledger", url)
    assert (recount.returncode, "all agree" in recount.stdout) == (0, True), recount.stdout
    print(f"{len(acknowledged)} acknowledged, {len(stored)} stored, failures: {sorted(failures)}")
