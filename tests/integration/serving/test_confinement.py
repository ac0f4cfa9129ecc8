"""What code could do that takes over a decoding process, the import sandbox, or another process of
the server's user: code that tries runs there, after the process has set itself up.
"""

import ctypes
import inspect
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hosting.settings import Settings
from model_store.confinement import SCOPE_VERSION, landlock_version
from model_store.foreign import sandbox as sandbox_module
from model_store.foreign.sandbox import Sandbox
from model_store.image import InputSpec
from model_store.store.store import Store
from serving.decoding import child as child_module
from serving.decoding.decoder import Decoder
from tests.builders.processes import Process

pytestmark = pytest.mark.skipif(
    landlock_version() < SCOPE_VERSION, reason="this kernel lacks Landlock"
)


IMPORTS = """
import ctypes, json, os, resource, socket, subprocess
from pathlib import Path
"""


def attempts(parent: int, folder: str, port: int) -> list[str]:
    """The names of the attempts that succeeded. Its source runs in the confined process."""

    def connect(kind: int, family: int, address: object) -> None:
        with socket.socket(family, kind) as client:
            client.connect(address)

    many = (2**12, 2**12)
    tries = {
        "read a file": lambda: Path(folder, "secret").read_bytes(),
        "write a file": lambda: Path(folder, "new").write_bytes(b"x"),
        "make a folder": lambda: Path(folder, "folder").mkdir(),
        "remove a file": lambda: Path(folder, "secret").unlink(),
        "rename a file": lambda: Path(folder, "secret").rename(Path(folder, "other")),
        "list a folder": lambda: list(Path(folder).iterdir()),
        "read the server's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "read its own environment": lambda: Path("/proc/self/environ").read_bytes(),
        "write the server's memory": lambda: os.open(f"/proc/{parent}/mem", os.O_RDWR),
        "signal the server": lambda: os.kill(parent, 0),
        "connect": lambda: connect(socket.SOCK_STREAM, socket.AF_INET, ("127.0.0.1", port)),
        "send a datagram": lambda: connect(socket.SOCK_DGRAM, socket.AF_INET, ("127.0.0.1", port)),
        "connect to a file": lambda: connect(
            socket.SOCK_STREAM, socket.AF_UNIX, f"{folder}/socket"
        ),
        "lift its limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, many),
        "start a program": lambda: subprocess.run(["/bin/true"], check=True),
        "become a program": lambda: os.execv("/bin/true", ["true"]),
    }
    found = []
    for name, attempt in tries.items():
        try:
            attempt()
        except (OSError, ValueError):
            continue
        found.append(name)
    if ctypes.CDLL(None).ptrace(16, parent, None, None) == 0:
        found.append("trace the server")
    return found


@pytest.fixture
def place(tmp_path: Path) -> Any:
    """Arguments of `attempts`, which all succeed in a process without confinement."""
    (tmp_path / "secret").write_text("x")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX) as other,
    ):
        other.bind(str(tmp_path / "socket"))
        other.listen()
        yield os.getpid(), str(tmp_path), listener.getsockname()[1]


def prelude(place: Any, *, then: str) -> str:
    """Source that defines `attempts`, and `then` puts it where hostile bytes are read."""
    return f"{IMPORTS}\n{inspect.getsource(attempts)}\nplace = {place!r}\n{then}\n"


@pytest.mark.anyio
async def test_a_decoding_process_can_reach_nothing(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = """
from serving.decoding import worker
from model_store.errors import BrokenImage
def decode(*_, **__):
    raise BrokenImage(json.dumps(attempts(*place)))
worker.decode = decode
"""
    start, call = child_module._START.split("from serving")
    monkeypatch.setattr(
        child_module, "_START", f"{start}\n{prelude(place, then=hostile)}\nfrom serving{call}"
    )
    decoder = Decoder(Settings(memory_bytes=3 * 2**28), observe_s=lambda _: None)
    try:
        with pytest.raises(Exception, match=r"\[") as refused:
            await decoder.decode(b"any image", InputSpec(1, 8, 8))
    finally:
        decoder.close()
    said = str(refused.value)
    assert json.loads(said[said.index("[") : said.rindex("]") + 1]) == []


def test_the_import_sandbox_can_reach_nothing(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = """
from model_store.foreign import sandbox_worker
def load(*_):
    raise RuntimeError(json.dumps([*attempts(*place), *os.environ]))
sandbox_worker.load = load
"""
    start, call = sandbox_module._START.split("importlib.import_module")
    monkeypatch.setenv("CANDOR_TOKENS", "a-secret-of-sixteen-letters admin")
    monkeypatch.setattr(
        sandbox_module,
        "_START",
        f"{start}\n{prelude(place, then=hostile)}\nimportlib.import_module{call}",
    )
    with Sandbox(0) as sandbox, pytest.raises(Exception, match=r"\[") as refused:
        sandbox.load(b"any graph")
    said = str(refused.value)
    ours = {"ORT_DISABLE_TELEMETRY", "LC_CTYPE", "LD_LIBRARY_PATH"}
    assert set(json.loads(said[said.index("[") : said.rindex("]") + 1])) <= ours


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["serve", "monitor"])
def test_other_processes_of_its_user_cannot_read_a_server(
    tiny_store: Store, tmp_path: Path, verb: str
) -> None:
    """Without capabilities, as a server should run. The first read shows that the test reads."""
    plain = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    command = [*plain, sys.executable, "-m", "candor", verb]
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    server = Process(verb, tmp_path, command=command, store=tiny_store.root, ledger=ledger)
    read = "import sys; print(len(open(f'/proc/{sys.argv[1]}/environ', 'rb').read()))"

    def reads(pid: int) -> bool:
        done = subprocess.run([*plain, sys.executable, "-c", read, str(pid)], capture_output=True)
        return done.returncode == 0

    sleeping = subprocess.Popen([*plain, "sleep", "600"])
    try:
        server.await_ready()
        assert reads(sleeping.pid)
        assert not reads(server.process.pid)
    finally:
        sleeping.kill()
        sleeping.wait()
        server.stop()
