"""TLS connections that never shake hands are closed, and threads take short turns."""

import asyncio
import socket
import ssl
import sys
from pathlib import Path

import pytest
import uvloop

from serving.process import listener
from serving.process.listener import TURN_S, BoundedLoop
from tests.builders.processes import PATIENCE_S


def test_a_silent_tls_connection_is_closed(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 of them once stayed for a minute, and nothing counted them."""
    monkeypatch.setattr(listener, "HANDSHAKE_S", 0.2)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def serve() -> bytes:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context)
        with socket.create_connection(server.sockets[0].getsockname()) as silent:
            silent.setblocking(False)
            async with asyncio.timeout(PATIENCE_S):
                heard = await loop.sock_recv(silent, 1)
        server.close()
        return heard

    assert uvloop.run(serve(), loop_factory=BoundedLoop) == b""


def test_a_thread_that_parses_gives_the_interpreter_back_soon_while_the_loop_runs() -> None:
    """With Python's 5 ms, a small image waited 0.2 s beside hostile rows (see the siege)."""
    before_s = sys.getswitchinterval()

    async def interval_s() -> float:
        return sys.getswitchinterval()

    with asyncio.Runner(loop_factory=BoundedLoop) as runner:
        assert runner.run(interval_s()) == pytest.approx(TURN_S)
    assert sys.getswitchinterval() == pytest.approx(before_s)
