"""An empty ledger with a clock that stands still until told otherwise, and a recorder on it."""

from collections.abc import Iterator

import pytest

from tests.builders.monitored import Clock, MonitoredModel


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitored(ledger_url: str, clock: Clock) -> Iterator[MonitoredModel]:
    with MonitoredModel(ledger_url, clock) as opened:
        yield opened
