"""Ray on hosts of their own: a link is cut, a host loses its power."""

import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="install the extra `ray`: make test-ray")

from model_store.store.store import Store
from tests.builders.hosts import Host, Hosts
from tests.builders.postgres import Cluster
from tests.builders.processes import wait_until
from tests.builders.ray_cluster import RayHosts
from tests.builders.ray_server import (
    REPEATABLE,
    TOKEN,
    RayServer,
    Traffic,
    answered,
    failures_of,
    require_recorded,
)

pytestmark = [pytest.mark.nightly, pytest.mark.parametrize("host_count", [3])]
# Beside those: the client's network fails, or the database's, seen by a replica whose host is cut
# off.
CUT_OFF = REPEATABLE | {"ConnectTimeout", "WriteTimeout"}
CALM_S = 15.0


def failing_s(traffic: list[Traffic], cluster: RayHosts, *plugged: Host) -> float:
    """For how many seconds from now requests fail; returns after CALM_S without a failure.

    The nodes of `plugged` hosts are kept running: Ray ends one that it gave up while its link was
    cut.
    """
    since_s = time.monotonic()

    def last_s() -> float:
        return max(
            (at for thread in traffic for at in thread.failed_s if at > since_s), default=since_s
        )

    def calm() -> bool:
        for host in plugged:
            cluster.keep(host)
        return time.monotonic() - last_s() > CALM_S

    wait_until(calm, "answers without failures")
    return last_s() - since_s


def await_answers(traffic: list[Traffic]) -> None:
    """Wait for 200 more."""
    before = answered(traffic)
    wait_until(lambda: answered(traffic) > before + 200, "answers")


def test_a_cut_link_and_a_lost_host_cost_no_acknowledged_answer(
    network: Hosts, network_database: Cluster, tiny_store: Store, tmp_path: Path
) -> None:
    url = network_database.make_database("ray")
    head, second, third = network.hosts
    secrets = {"CANDOR_LEDGER": url, "CANDOR_TOKENS": f"{TOKEN} admin"}
    with RayHosts([head, second, third], secrets) as cluster:
        server = RayServer(
            cluster.joining, tiny_store.root, tmp_path, start=head.popen, host="0.0.0.0", ledger=url
        )
        port = server.url.rpartition(":")[2]
        urls = {host: f"http://{host.address}:{port}" for host in (second, third)}
        for each in urls.values():
            server.await_ready(each)
        orders = list(urls.values()), list(reversed(urls.values()))
        traffic = [Traffic(*order, timeout_s=5) for order in orders for _ in range(2)]
        for thread in traffic:
            thread.start()
        try:
            await_answers(traffic)
            third.unplug()
            print(f"link cut: failures for {failing_s(traffic, cluster):.0f} s")
            await_answers(traffic)
            third.plug()
            wait_until(
                lambda: cluster.keep(third) or server.ready(urls[third]),
                "the host whose link is mended",
            )
            second.power_off()
            print(f"power off: failures for {failing_s(traffic, cluster, third):.0f} s")
            await_answers(traffic)
        finally:
            for thread in traffic:
                thread.stop()
        assert set(failures_of(traffic)) <= CUT_OFF
        assert server.end() == 0
        require_recorded(url, traffic)
