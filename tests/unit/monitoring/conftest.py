"""A ledger in a temporary folder with a clock that stands still until told otherwise, and a recorder on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.monitoring.desk import Clock, Desk


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with Desk(tmp_path / "ledger.db", clock) as opened:
        yield opened
