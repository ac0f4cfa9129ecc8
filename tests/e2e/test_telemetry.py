"""ONNX Runtime's telemetry is off in every process of Candor: nothing is written to the home
folder, nobody is called.

A process of ONNX Runtime alone shows that both would be noticed: it writes to its home folder, and
asks the proxy of this test for Microsoft's host some ten seconds after it began.
"""

import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.bundles import build_onnx, png
from tests.builders.processes import PATIENCE_S, candor, wait_until
from tests.builders.servers import Start

pytestmark = pytest.mark.nightly

ALONE = """
import sys, time
import onnxruntime as ort
session = ort.InferenceSession(sys.stdin.buffer.read())
time.sleep(300)
"""
HANDLER = """
import sys
sys.path.insert(0, sys.argv[1])
from torchserve_handler import CandorHandler
handler = CandorHandler()
handler.initialize(type("Context", (), {"system_properties": {"model_dir": sys.argv[1]}, "manifest": {}}))
print("ready", flush=True)
sys.stdin.read()
"""


class Proxy:
    """An HTTPS proxy that refuses everybody, and remembers what it was asked."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[str] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(1024).decode(errors="replace").split("\r\n")[0])

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def proxies() -> Iterator[tuple[Proxy, Proxy]]:
    both = (Proxy(), Proxy())
    yield both
    for proxy in both:
        proxy.close()


def use(monkeypatch: pytest.MonkeyPatch, home: Path, proxy: Proxy) -> Path:
    """Give later processes an empty home and a proxy, and nothing against telemetry."""
    home.mkdir()
    for name in ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    return home


@contextmanager
def running(*arguments: str, given: bytes = b"") -> Iterator["subprocess.Popen[bytes]"]:
    """Python for the duration of a block; `given` is all of its standard input, if anything is."""
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if given:
            process.stdin.write(given)
            process.stdin.close()
        yield process
        process.kill()


def written(home: Path) -> list[str]:
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*"))


def test_nothing_is_written_and_nobody_is_called(
    tiny_store: Store,
    start: Start,
    proxies: tuple[Proxy, Proxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet, loud = proxies
    home = use(monkeypatch, tmp_path / "home", quiet)
    server = start(tiny_store)
    for size in ((32, 24), (2000, 1500)):  # the larger is decoded in a process of its own
        assert server.predict(png(size=size)).status_code == 200
    (tmp_path / "one.png").write_bytes(png())
    assert candor("predict", tmp_path / "one.png", "--store", tiny_store.root).returncode == 0
    probe = "from benchmarks.serving.probe import _session"
    subprocess.run([sys.executable, "-c", probe], check=True, timeout=PATIENCE_S)
    archive = tmp_path / "archive"
    with zipfile.ZipFile(tiny_store.folder("tiny", 1) / "tiny.mar") as packed:
        packed.extractall(archive)
    with running("-I", "-c", HANDLER, str(archive)) as handler:
        assert handler.stdout.readline() == b"ready\n"
        other = use(monkeypatch, tmp_path / "other", loud)
        with running("-c", ALONE, given=build_onnx()):
            wait_until(lambda: loud.asked, "ONNX Runtime alone calls Microsoft")
            assert any("microsoft.com" in line for line in loud.asked)
            assert any("onnxruntime" in name for name in written(other))
    assert server.end() == 0
    assert (written(home), quiet.asked) == ([], [])
