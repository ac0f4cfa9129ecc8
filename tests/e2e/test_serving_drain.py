"""SIGTERM with every way in busy at once: single images, lists, tensors, and a version on trial."""

import contextlib
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store.bundle.bundle import write_bundle
from model_store.store.canary import start_canary
from model_store.store.store import Store
from tests.builders.bundles import build_card, png
from tests.builders.processes import PATIENCE_S, wait_until
from tests.builders.servers import Start, slow_onnx
from tests.builders.tensors import bytes_tensor


@pytest.mark.parametrize("mode", ["shadow", pytest.param("share", marks=pytest.mark.nightly)])
def test_all_32_are_answered_whatever_way_they_came(
    start: Start, slow_store: Store, tmp_path: Path, mode: Any
) -> None:
    card = partial(build_card, classes=("a", "b"), height=96, width=96)
    slow_store.publish(
        "tiny",
        lambda folder, number: write_bundle(folder, card=card(version=number), onnx=slow_onnx()),
    )
    start_canary(slow_store, "tiny", 2, mode=mode, share=0.5 if mode == "share" else 0.0)
    server = start(slow_store, drain_delay_s="5.0")
    wait_until(lambda: server.metric("candor_model_loaded") == 2)
    image = png(size=(96, 96))

    def single() -> list[int]:
        return [httpx.post(f"{server.url}/predictions/tiny", content=image).status_code]

    def several() -> list[int]:
        files = [("file", (f"{number}.png", image, "image/png")) for number in range(3)]
        answer = httpx.post(f"{server.url}/predictions/tiny", files=files)
        return [200 if "predicted" in item else 500 for item in answer.json()]

    def remote() -> list[int]:
        body = {"inputs": [bytes_tensor(image)]}
        answer = httpx.post(f"{server.url}/v2/models/tiny/infer", json=body, timeout=PATIENCE_S)
        return [answer.status_code]

    ways = [single] * 16 + [several] * 8 + [remote] * 8
    with ThreadPoolExecutor(len(ways)) as pool:
        sent = [pool.submit(way) for way in ways]
        wait_until(lambda: server.metric("candor_queue_length") > 16)
        assert server.metric("candor_queue_wait_seconds") > 0.1
        server.signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{server.url}/readyz").status_code == 503)
        answered = [status for future in sent for status in future.result()]
    assert answered == [200] * (16 + 8 * 3 + 8)
    assert server.exit_code() == 0
    assert "Traceback" not in server.log()
    assert '"trace"' not in server.log()
    assert not (tmp_path / "ledger.db-wal").exists()  # the last to close takes it into the database
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        production = ledger.execute(
            "SELECT count(*) FROM prediction WHERE watched_version_id IN (1, 2)"
        ).fetchone()[0]
    assert production >= len(answered)


def test_a_second_signal_ends_it_while_requests_wait(start: Start, slow_store: Store) -> None:
    server = start(slow_store, drain_delay_s="300")
    image = png(size=(96, 96))
    with ThreadPoolExecutor(64) as pool:
        sent = [
            pool.submit(
                httpx.post, f"{server.url}/predictions/tiny", content=image, timeout=PATIENCE_S
            )
            for _ in range(64)
        ]
        wait_until(lambda: server.metric("candor_queue_length") > 16)
        server.signal(signal.SIGTERM)
        wait_until(lambda: "draining" in server.log())
        server.signal(signal.SIGTERM)
        assert server.exit_code() == 1
        assert any(isinstance(future.exception(), httpx.TransportError) for future in sent)
