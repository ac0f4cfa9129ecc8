"""A server on a store that holds "tiny"; `pytest.mark.world(audit_share=0.5)` names settings."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from console import index
from model_store.store.store import Store
from tests.builders.processes import PATIENCE_S
from tests.builders.services import Running, running


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index waits for all models, however busy the machine is."""
    monkeypatch.setattr(index, "WAIT_S", PATIENCE_S)


@pytest.fixture
def store(tiny_store: Store) -> Store:
    return tiny_store


@pytest.fixture
async def server(
    request: pytest.FixtureRequest, store: Store, tmp_path: Path
) -> AsyncIterator[Running]:
    options: dict[str, object] = {}
    for mark in request.node.iter_markers("world"):
        options = mark.kwargs | options
    async with running(store, tmp_path, **options) as started:
        yield started
