"""A server on a store, which a module's fixture `store` and its SETTINGS change."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.services import Running, running


@pytest.fixture
def store(tiny_store: Store) -> Store:
    return tiny_store


@pytest.fixture
async def server(
    request: pytest.FixtureRequest, store: Store, tmp_path: Path
) -> AsyncIterator[Running]:
    async with running(store, tmp_path, **getattr(request.module, "SETTINGS", {})) as started:
        yield started
