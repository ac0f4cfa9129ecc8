"""Fixtures of servers in processes of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_store.store import Store
from tests.builders.servers import Server, publish_slow
from tests.builders.waiting import wait_until

# A server that gives up no request because the machine is slow; tests of overload have their own deadline.
PATIENT = {"deadline_s": "300", "drain_s": "300", "body_timeout_s": "60"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`start(store, **settings)`: a server that is ready unless `ready=False`."""
    started: list[Server] = []

    def run(store: Store, *, ready: bool = True, **settings: str) -> Server:
        server = Server(store.root, tmp_path, **(PATIENT | settings))
        started.append(server)
        if ready:
            wait_until(lambda: server.client.get("/readyz").status_code == 200)
        return server

    yield run
    for server in started:
        server.stop()


@pytest.fixture
def slow_store(tmp_path: Path) -> Store:
    """A store whose "tiny" takes some 20 ms an image."""
    return publish_slow(tmp_path / "slow")
