"""A server, and a monitor of its own, that find an active drift alarm when they start, and act on
it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.bundles import build_bundle, encode, picture
from tests.builders.monitored import Clock, MonitoredModel, answer
from tests.builders.processes import PATIENCE_S, wait_until
from tests.builders.servers import Server

STORE_NEEDED = "candor monitor found no model store at"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Version 1 in production; the ledger beside it has its drift alarm."""
    store, clock = Store(tmp_path / "store"), Clock()
    store.publish("tiny", lambda folder, version: build_bundle(folder, version))
    store.promote("tiny", 1)
    clock.now_ns = time.time_ns() - 3_600 * 10**9
    with MonitoredModel(tmp_path / "ledger.db", clock, card=store.read("tiny").card) as monitored:
        answer(monitored, 900, sharp=1.6)
        assert monitored.detectors()[0].active
    return store


def test_a_server_promotes_shows_it_and_is_rolled_back_in_one_command(
    start: Callable[..., Server], store: Store, tmp_path: Path
) -> None:
    server = start(store, recalibrate_on_alarm="promote")
    wait_until(lambda: store.production("tiny") == 2)
    wait_until(lambda: server.predict(encode(picture(), "PNG")).json()["version"] == 2)
    said = [
        entry["sentence"]
        for entry in server.client.get("/models/tiny/report/history").json()["events"]
    ]
    assert any(
        "Version 2 was promoted because of the drift alarm." in sentence for sentence in said
    )
    assert (
        "Version 2 was published because of the drift alarm"
        in server.client.get("/models/tiny/report/page").text
    )
    assert 'candor_recalibrations_total{model="tiny",outcome="promoted"} 1.0' in server.metrics()
    assert '"message": "recalibration on a drift alarm"' in server.log()
    store.promote("tiny", 1)
    wait_until(lambda: server.predict(encode(picture(), "PNG")).json()["version"] == 1)
    assert store.versions("tiny") == [1, 2]


def test_a_monitor_acts_where_it_has_the_store_and_says_so_where_it_has_none(
    store: Store, tmp_path: Path
) -> None:
    def monitor(folder: Path) -> "subprocess.Popen[str]":
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("CANDOR_")
        }
        options = ["--recalibrate-on-alarm", "publish", "--store", str(folder), "--port", "0"]
        options += ["--ledger", f"sqlite:///{tmp_path / 'ledger.db'}"]
        command = [sys.executable, "-m", "candor", "monitor", *options]
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    with monitor(tmp_path / "nowhere") as refused:
        _, told = refused.communicate(timeout=PATIENCE_S)
    assert refused.returncode == 1
    assert f"{STORE_NEEDED} {tmp_path / 'nowhere'}" in told
    with monitor(store.root) as acting:
        wait_until(lambda: store.versions("tiny") == [1, 2])
        acting.terminate()
        acting.communicate(timeout=PATIENCE_S)
    assert store.production("tiny") == 1
