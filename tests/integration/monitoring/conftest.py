"""One world: an empty ledger, a clock that stands still until told otherwise, a recorder, a client.

`pytest.mark.world(card=..., settings=..., ...)` says what is not as usual.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from console import index
from monitoring.ledger import database
from monitoring.metrics import ledger_gauges
from monitoring.recording import writing_thread
from tests.builders.monitored import Clock, MonitoredModel, page_client_of
from tests.builders.processes import PATIENCE_S


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is slow only because the machine is busy has no consequence."""
    monkeypatch.setattr(writing_thread, "SLOW_S", PATIENCE_S)
    monkeypatch.setattr(database, "RESTARTED_S", PATIENCE_S)
    monkeypatch.setattr(ledger_gauges, "WAIT_S", PATIENCE_S)
    monkeypatch.setattr(index, "WAIT_S", PATIENCE_S)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reopen(ledger_url: str, clock: Clock) -> Iterator[Callable[..., MonitoredModel]]:
    """Opens the ledger as another process would, after the one before has ended."""
    opened: list[MonitoredModel] = []

    def again(**options: object) -> MonitoredModel:
        for each in opened:
            each.close()
        opened[:] = [MonitoredModel(ledger_url, clock, **options)]
        return opened[0]

    yield again
    for each in opened:
        each.close()


@pytest.fixture
def monitored(
    request: pytest.FixtureRequest, reopen: Callable[..., MonitoredModel]
) -> MonitoredModel:
    options: dict[str, object] = {}
    for mark in request.node.iter_markers("world"):
        options = mark.kwargs | options
    return reopen(**options)


@pytest.fixture
async def client(monitored: MonitoredModel, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Of all routes and pages; version 1 is in production."""
    production = {monitored.card.name: 1, "ghost": 4}.get
    async with page_client_of(monitored, tmp_path, production=production) as opened:
        yield opened
