"""A server on a bound socket: how it starts, what bounds it, and how it ends."""

import asyncio
import ctypes
import resource
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from hosting import settings as settings_module
from hosting.errors import SettingsError
from hosting.exchange import Exchange
from hosting.http_server import TURN_S, DrainingServer, _most_connections, run
from hosting.listener import listen, tls_files
from hosting.settings import Settings
from serving.inference import freed_memory
from serving.inference.freed_memory import keep_returning_memory
from tests.builders import programs
from tests.builders.processes import PATIENCE_S


class App:
    """Answers at once, but not before `let` on /slow."""

    def __init__(self) -> None:
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        if scope["path"] == "/slow":
            await self.let.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def served(app: App, host: str = "127.0.0.1", **settings: float) -> tuple[DrainingServer, str]:
    listener = listen(host, 0)
    port = listener.getsockname()[1]
    server = DrainingServer(
        Exchange(app), Settings(ledger="off", **settings), listener=listener, drain=lambda: None
    )
    return server, f"http://{f'[{host}]' if ':' in host else host}:{port}"


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_what_is_under_way_is_answered_and_nothing_accepted_once_it_drains(host: str) -> None:
    app = App()
    server, url = served(app, host, drain_delay_s=0.0)
    serving = asyncio.create_task(server.serve())
    async with httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["server"]) == (204, "candor")
        app.asked.clear()
        slow = asyncio.create_task(client.get("/slow"))
        await app.asked.wait()
        server.begin_drain()
        await asyncio.sleep(0.2)
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient(base_url=url).get("/")
        assert not serving.done()
        app.let.set()
        assert (await slow).status_code == 204
    assert await serving


@pytest.mark.anyio
async def test_it_says_whether_a_request_was_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(settings_module, "DRAIN_S", 0.1)
    app = App()
    server, url = served(app, drain_delay_s=0.0)
    serving = asyncio.create_task(server.serve())
    async with httpx.AsyncClient(base_url=url) as client:
        slow = asyncio.create_task(client.get("/slow"))
        await app.asked.wait()
        server.begin_drain()
        assert not await serving
        assert "gave up requests" in caplog.text
        app.let.set()
        assert (await slow).status_code == 204


def test_a_certificate_that_nobody_could_be_served_with_is_refused(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp521r1 -nodes -subj /CN=candor"
    subprocess.run(
        [programs.need("openssl"), *make.split(), "-keyout", key, "-out", chain],
        check=True,
        capture_output=True,
    )
    with pytest.raises(SettingsError, match="use RSA, P-256, P-384 or Ed25519"):
        tls_files(Settings(ledger="off", tls_certificate=chain, tls_key=key))


def test_connections_leave_files_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, connections in ((100, 50), (1024, 768), (1_000_000, 16_384)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert _most_connections() == connections


def test_a_thread_that_parses_gives_the_interpreter_back_soon() -> None:
    """With Python's 5 ms, a small image waited 0.2 s beside hostile rows (see the siege)."""
    before_s = sys.getswitchinterval()

    async def interval_us() -> int:
        return round(1e6 * sys.getswitchinterval())

    try:
        assert run(interval_us()) == round(1e6 * TURN_S)
    finally:
        sys.setswitchinterval(before_s)


GROWN_BYTES = 128 * 2**20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def scattered(size_bytes: int) -> None:
    """Allocate and free many blocks that are too small for a mapping each."""
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    blocks = [library.malloc(100_000) for _ in range(size_bytes // 100_000)]
    for block in blocks:
        ctypes.memset(block, 1, 100_000)
    library.malloc(100_000)  # keeps the heap from shrinking by itself
    for block in blocks:
        library.free(block)


def test_a_server_that_has_grown_returns_what_it_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory, "PAUSE_S", 0.05)
    freed_memory.return_freed_memory()
    before = resident_bytes()

    async def grow() -> int:
        keeping = asyncio.create_task(keep_returning_memory())
        await asyncio.sleep(0)
        scattered(GROWN_BYTES)
        grown = resident_bytes()
        async with asyncio.timeout(PATIENCE_S):
            while resident_bytes() > before + GROWN_BYTES // 4:
                await asyncio.sleep(0.02)
        keeping.cancel()
        return grown

    assert asyncio.run(grow()) > before + GROWN_BYTES // 2
