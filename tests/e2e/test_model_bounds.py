"""A trusted model that one picture sets off: its version is stopped, and nobody else waits.

The deadline of a batch is ten seconds here, so each case takes about fifteen.
"""

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store.bundle.bundle import write_bundle
from model_store.store.store import Store
from tests.builders.bundles import build_card, build_onnx
from tests.builders.processes import wait_until
from tests.builders.servers import Server, Start
from tests.builders.triggered import KINDS, harmless, publish_triggered, trigger

QUEUE = 'candor_queue_length{model="bad",version="1"}'
MOST_MB = 1000  # more than before, while an Expand asks for six times as much
NIGHTLY = [
    pytest.param(kind, marks=pytest.mark.nightly) for kind in ("Expand", "If", "NonMaxSuppression")
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose "tiny" is harmless."""
    found = Store(tmp_path / "store")
    found.publish(
        "tiny",
        lambda folder, version: write_bundle(
            folder, card=build_card(version=version), onnx=build_onnx()
        ),
    )
    found.promote("tiny", 1)
    return found


def send(server: Server, model: str, image: bytes) -> httpx.Response:
    return httpx.post(f"{server.url}/predictions/{model}", content=image)


@pytest.mark.parametrize("kind", ["Loop", *NIGHTLY])
def test_one_picture_stops_its_version_alone_and_another_takes_over(
    start: Start, store: Store, tmp_path: Path, kind: str
) -> None:
    assert kind in KINDS
    publish_triggered(store, kind, tmp_path)
    server = start(store, deadline_s=1_500)
    wait_until(lambda: set(server.get("/readyz")["models"]) == {"tiny", "bad"})
    before_mb = server.memory_mb
    assert send(server, "bad", harmless()).status_code == 200
    answers: list[httpx.Response] = []
    waiting = [
        threading.Thread(
            target=lambda sent: answers.append(send(server, "bad", sent)), args=(image,)
        )
        for image in (trigger(), harmless(), harmless())
    ]
    waiting[0].start()
    # A batch of the trigger alone: one that takes too much memory may have ended by now.
    wait_until(lambda: f"{QUEUE} 1.0" in server.metrics() or answers, "a batch of the trigger")
    for thread in waiting[1:]:
        thread.start()
    answered, most_mb, begun_s = 0, 0.0, time.monotonic()
    while any(thread.is_alive() for thread in waiting):
        assert server.predict(harmless()).status_code == 200
        answered += 1
        most_mb = max(most_mb, server.memory_mb)
        time.sleep(0.02)
    # If they waited for the batch, it were one.
    assert answered > 3 or time.monotonic() - begun_s < 1
    assert most_mb < before_mb + MOST_MB
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["error"] for answer in answers} == {"version_stopped"}
    assert send(server, "bad", harmless()).status_code == 503
    refused = wait_until(lambda: server.get("/readyz")["refused"].get("bad"))
    assert refused["version"] == 1
    assert 'candor_version_stopped{model="bad",version="1"} 1.0' in server.metrics()
    (logged,) = said(server, "version stopped")
    assert (logged["model"], logged["version"]) == ("bad", 1)
    if kind == "Loop":  # its run is ended between two rounds
        wait_until(lambda: spent_s(server) < 0.5)
    card = build_card(name="bad", version=2)
    store.publish("bad", lambda folder, _: write_bundle(folder, card=card, onnx=build_onnx()))
    store.promote("bad", 2)
    wait_until(lambda: server.get("/readyz")["models"].get("bad") == 2)
    assert send(server, "bad", trigger()).status_code == 200
    assert server.get("/readyz")["refused"] == {}
    assert server.end() == 0  # without waiting for what was stopped


def spent_s(server: Server) -> float:
    """Processor time that it takes in a second."""
    before_s = server.metric("process_cpu_seconds_total")
    time.sleep(1)
    return server.metric("process_cpu_seconds_total") - before_s


def said(server: Server, message: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["message"] == message]
