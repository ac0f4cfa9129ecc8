"""`candor.serve` from Python: its server ends with what started it, however that ends."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest

import candor
from candor import Refused, server_process
from model_store.store.store import Store
from tests.builders.bundles import build_bundle, png, published
from tests.builders.processes import environment, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return published(tmp_path / "store", partial(build_bundle, name="chest"), name="chest")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def test_it_answers_holds_its_port_and_ends_with_its_block(store: Store) -> None:
    (store.root / "one.png").write_bytes(png())
    with candor.serve(store=store.root, ledger="off") as server:
        answer = server.predict(store.root / "one.png")
        assert answer["predicted"] in repr(answer)
        assert f'href="{server.url}/"' in server._repr_html_()
        with pytest.raises(Refused, match=r"address already in use|in use"):
            candor.serve(store=store.root, ledger="off", port=httpx.URL(server.url).port)
    assert not _answers(server.url)


def test_it_ends_with_a_kernel_that_is_killed(store: Store, tmp_path: Path) -> None:
    program = (
        f"import candor; server = candor.serve(store={str(store.root)!r}, ledger='off'); "
        "print(server.url, flush=True); input()"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with kernel:
        url = kernel.stdout.readline().strip()
        assert _answers(url)
        os.kill(kernel.pid, signal.SIGKILL)
    wait_until(lambda: not _answers(url))


def test_nothing_in_production_is_refused_with_what_to_do(tmp_path: Path, store: Store) -> None:
    with pytest.raises(Refused, match=r"`candor export`") as refused:
        candor.serve(store=tmp_path / "none")
    assert "--" not in str(refused.value)
    assert refused.value._render_traceback_() == [f"candor: {refused.value}"]


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "_PROGRAM", "import time; time.sleep(3600)")
    monkeypatch.setattr(server_process, "START_S", 0.1)
    with pytest.raises(server_process.ServerFailed):
        server_process.ServerProcess({})
