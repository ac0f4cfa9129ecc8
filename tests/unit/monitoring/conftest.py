"""An empty ledger with a clock that stands still until told otherwise, and a recorder on it."""

from collections.abc import Iterator

import pytest

from tests.unit.monitoring.desk import Clock, Desk


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(ledger_url: str, clock: Clock) -> Iterator[Desk]:
    with Desk(ledger_url, clock) as opened:
        yield opened
