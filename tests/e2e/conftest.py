"""Fixtures of servers in processes of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from model_store.store.store import Store
from tests.builders.browser import open_browser
from tests.builders.hosts import Hosts
from tests.builders.postgres import Cluster
from tests.builders.programs import need
from tests.builders.ray_cluster import RayNodes
from tests.builders.ray_server import TOKEN
from tests.builders.servers import Server, Start, publish_slow

# A server that gives up no request because the machine is slow; tests of overload have their own
# deadline.
PATIENT = {"deadline_s": "300", "body_timeout_s": "60"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(store, **settings)`: a server that is ready unless `ready=False`, of a `kind`."""
    yield from _servers(tmp_path)


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """`start` for servers that no test of a module changes."""
    yield from _servers(tmp_path_factory.mktemp("shared"))


def _servers(folder: Path) -> Iterator[Start]:
    started: list[Server] = []

    def run(
        store: Store, *, ready: bool = True, kind: type[Server] = Server, **settings: str
    ) -> Server:
        server = kind(store.root, folder, **(PATIENT | settings))
        started.append(server)
        if ready:
            server.await_ready()
        return server

    yield run
    for server in started:
        server.stop()


@pytest.fixture(scope="module")  # Playwright's event loop runs as long, and asyncio's tests cannot
def browser() -> Iterator[Browser]:
    need("chromium")
    with open_browser() as opened:
        yield opened


@pytest.fixture
def slow_store(tmp_path: Path) -> Store:
    """A store whose "tiny" takes some 20 ms an image."""
    return publish_slow(tmp_path / "slow")


@pytest.fixture
def ray_ledger(postgres: Cluster) -> str:
    return postgres.make_database("ray")


@pytest.fixture
def ray_nodes(ray_ledger: str) -> Iterator[RayNodes]:
    """A head without replicas, three nodes for one replica each; all have the secrets."""
    secrets = {"CANDOR_LEDGER": ray_ledger, "CANDOR_TOKENS": f"{TOKEN} admin"}
    with RayNodes(0, 1, 1, 1, environment=secrets) as running:
        yield running


@pytest.fixture
def network(host_count: int, tmp_path: Path) -> Iterator[Hosts]:
    """So many hosts with own addresses, where the machine makes namespaces."""
    need("ip", "nsenter", "setpriv", "unshare")
    try:
        with Hosts(host_count, tmp_path) as made:
            yield made
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture
def network_database(network: Hosts) -> Iterator[Cluster]:
    """PostgreSQL on another machine than those hosts, which reach it over their network."""
    programs = need("initdb").resolve().parent
    cluster = Cluster(programs, address=network.gateway, network=network.network)
    yield cluster
    cluster.close()
