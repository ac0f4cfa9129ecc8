"""A server and a monitor that find an active drift alarm at their start, and act on it."""

import time
from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.bundles import encode, picture, publish_tiny
from tests.builders.monitored import Clock, MonitoredModel, answer
from tests.builders.processes import wait_until
from tests.builders.servers import Start


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Version 1 in production; the ledger beside it has its drift alarm."""
    store, clock = publish_tiny(tmp_path / "store"), Clock()
    clock.now_ns = time.time_ns() - 3_600 * 10**9
    with MonitoredModel(tmp_path / "ledger.db", clock, card=store.read("tiny").card) as monitored:
        answer(monitored, 900, sharp=1.6)
        assert monitored.detectors()[0].active
    return store


def test_a_server_promotes_shows_it_and_is_rolled_back_in_one_command(
    start: Start, store: Store, tmp_path: Path
) -> None:
    server = start(store, recalibrate_on_alarm="promote")
    wait_until(lambda: store.production("tiny") == 2)
    wait_until(lambda: server.predict(encode(picture(), "PNG")).json()["version"] == 2)
    counted = 'candor_recalibrations_total{model="tiny",outcome="promoted"} 1.0'
    wait_until(lambda: counted in server.metrics())
    wait_until(lambda: '"message": "recalibration on a drift alarm"' in server.log())
    store.promote("tiny", 1)
    wait_until(lambda: server.predict(encode(picture(), "PNG")).json()["version"] == 1)
    assert store.versions("tiny") == [1, 2]
