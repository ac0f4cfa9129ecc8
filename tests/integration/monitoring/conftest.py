"""An empty ledger with a clock that stands still until told otherwise, and a recorder on it."""

from collections.abc import Iterator

import pytest

from monitoring.ledger import database
from monitoring.metrics import ledger_gauges
from monitoring.recording import writing_thread
from tests.builders.monitored import Clock, MonitoredModel
from tests.builders.processes import PATIENCE_S


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is slow only because the machine is busy has no consequence."""
    monkeypatch.setattr(writing_thread, "SLOW_S", PATIENCE_S)
    monkeypatch.setattr(database, "RESTARTED_S", PATIENCE_S)
    monkeypatch.setattr(ledger_gauges, "WAIT_S", PATIENCE_S)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitored(ledger_url: str, clock: Clock) -> Iterator[MonitoredModel]:
    with MonitoredModel(ledger_url, clock) as opened:
        yield opened
