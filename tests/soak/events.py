"""Besides kill -9: a cut network, a full disk, a deleted ledger, a triggered model."""

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable
from typing import TypeAlias

import httpx

from tests.builders.processes import PATIENCE_S, wait_until
from tests.builders.triggered import trigger
from tests.soak.site import TRIGGERED, Site

CUT_S = (0.5, 6.0)
FULL_S = (0.5, 2.0)
DELETED_S = (0.5, 2.0)
NOTICED_S = 30.0
EVERY = 8  # kills between two such events
Refused: TypeAlias = Callable[[], int]  # how many requests were refused so far
Event: TypeAlias = Callable[[Site, random.Random, Refused], None]


def cut_network(site: Site, rng: random.Random, refused: Refused) -> None:
    """Nothing passes to the database for a while; then it does, or all connections end."""
    site.network.cut()
    time.sleep(rng.uniform(*CUT_S))
    site.network.heal(hang_up=rng.random() < 0.5)


def fill_disk(site: Site, rng: random.Random, refused: Refused) -> None:
    """The ledger's disk is full for a while. PostgreSQL may end, and starts again."""
    cluster = site.cluster
    if cluster is None:
        with contextlib.closing(sqlite3.connect(site.file)) as connection:
            # else the log has room for seconds
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writer, before = site.server_pid if cluster is None else cluster.pid, refused()
    least, most = time.monotonic() + rng.uniform(*FULL_S), time.monotonic() + NOTICED_S
    try:
        while time.monotonic() < least or (refused() == before and time.monotonic() < most):
            site.disk.fill(writer=writer)
            time.sleep(0.05)
    finally:
        site.disk.free()
    assert refused() > before, "nobody noticed that the disk was full"
    if cluster is not None and not cluster.runs():
        cluster.start()


def delete_ledger(site: Site, rng: random.Random, refused: Refused) -> None:
    """The file of the ledger is deleted for a while, then put back as it was."""
    kept, before = site.file.with_suffix(".kept"), refused()
    os.link(site.file, kept)
    site.file.unlink()
    time.sleep(rng.uniform(*DELETED_S))
    assert not site.file.exists(), "the server made a new ledger in place of the deleted one"
    kept.rename(site.file)
    assert refused() > before, "nobody noticed that the ledger was deleted"


def trigger_model(site: Site, rng: random.Random, refused: Refused) -> None:
    """One picture sets a model off; its version is stopped, and the load on the other goes on."""
    url = f"{site.url}/predictions/{rng.choice(list(TRIGGERED))}"

    def send() -> httpx.Response:
        return httpx.post(url, content=trigger(), timeout=PATIENCE_S)

    answer = wait_until(
        lambda: (got := send()).status_code != 404 and got, "a model that is loaded"
    )
    assert answer.json()["error"] == "version_stopped", answer.text


def events_of(site: Site) -> dict[str, Event]:
    """The events that can happen there, by name."""
    if site.cluster is None:
        return {
            "full disk": fill_disk,
            "deleted file": delete_ledger,
            "triggered model": trigger_model,
        }
    return {
        "network partition": cut_network,
        "full disk": fill_disk,
        "triggered model": trigger_model,
    }
