"""Each replica of a node takes a port of its own for its metrics."""

import contextlib

import pytest

from hosting.errors import ListenError
from hosting.listener import listen
from serving.cluster.metrics_listener import PORTS, listen_from

HOST = "127.0.0.1"


def test_replicas_of_a_node_share_a_range_of_ports() -> None:
    with contextlib.ExitStack() as opened:
        first = opened.enter_context(contextlib.closing(listen_from(0, HOST)))
        start = min(first.getsockname()[1], 65_535 - PORTS)
        ports = []
        for _ in range(2):
            ports.append(
                opened.enter_context(contextlib.closing(listen_from(start, HOST))).getsockname()[1]
            )
        assert start <= ports[0] < ports[1] < start + PORTS
        for port in range(start, start + PORTS):
            with contextlib.suppress(ListenError):
                opened.enter_context(contextlib.closing(listen(HOST, port)))
        with pytest.raises(
            ListenError, match=f"no port from {start} to {start + PORTS - 1} is free at {HOST}"
        ):
            listen_from(start, HOST)
