"""A front that hangs, as after a real SIGSTOP, is replaced; one whose server stood still is not."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from model_store.store.store import Store
from serving.process.front_processes import BEAT_S, SILENT_BEATS
from tests.builders.fronts import CONNECTIONS, all_fronts
from tests.builders.servers import Server

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("fronts", [2, 4])]


def statuses(clients: list[httpx.Client], image: bytes) -> list[int | None]:
    """The status of an image sent by each at the same time; None if its connection ended."""

    def ask(client: httpx.Client) -> int | None:
        try:
            return client.post("/predictions/tiny", content=image).status_code
        except httpx.TransportError:
            return None

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(ask, clients))


def test_a_front_that_hangs_is_replaced_and_who_connected_to_it_meanwhile_is_answered(
    fronts: int,
    start_fronts: Callable[..., Server],
    tiny_store: Store,
    png: Callable[..., bytes],
    clients: Callable[[Server], list[httpx.Client]],
) -> None:
    server = start_fronts(tiny_store)
    pids = all_fronts(server, fronts)
    before, later = clients(server), clients(server)
    assert set(statuses(before, png())) == {200}
    os.kill(pids[0], signal.SIGSTOP)
    found = statuses(before + later, png())
    assert 0 < found[:CONNECTIONS].count(None) < CONNECTIONS  # those of that front alone
    assert set(found[CONNECTIONS:]) == {
        200
    }  # some of them waited at the socket of the one that hangs
    all_fronts(server, fronts, without=pids[0])
    assert set(statuses(before, png())) == {200}
    assert {"candor_front_restarts_total 1.0", f"candor_fronts {float(fronts)}"} <= set(
        server.metrics()
    )
    assert "a front hangs, and is ended" in server.log()


def test_no_front_is_replaced_because_all_of_the_server_stood_still(
    fronts: int,
    start_fronts: Callable[..., Server],
    tiny_store: Store,
    png: Callable[..., bytes],
    clients: Callable[[Server], list[httpx.Client]],
) -> None:
    server = start_fronts(tiny_store)
    pids = all_fronts(server, fronts)
    connected = clients(server)
    assert statuses(connected, png()) == [200] * CONNECTIONS
    for number in (signal.SIGSTOP, signal.SIGCONT):  # as a container is paused
        for pid in (server.process.pid, *pids):
            os.kill(pid, number)
        time.sleep((SILENT_BEATS + 2) * BEAT_S)
    assert statuses(connected, png()) == [200] * CONNECTIONS
    assert all_fronts(server, fronts) == pids
    assert server.metric("candor_front_restarts_total") == 0
