"""The server as a process that may not import torch: it is loaded, killed, switched and overloaded."""

import asyncio
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks.serving.exchange import Request, ask_all
from model_store.store.store import Store
from tests.builders.bundles import build_bundle, jpeg, png
from tests.builders.processes import PATIENCE_S, wait_until
from tests.builders.servers import Load, Server, Start


def test_kill_9_under_load_loses_no_answer_and_no_label(start: Start, tiny_store: Store) -> None:
    server = start(tiny_store)
    answered: list[dict[str, str]] = []
    labeled: list[dict[str, str]] = []
    image = png()

    def once(client: httpx.Client) -> None:
        answer = client.post("/predictions/tiny", content=image).json()
        item = {"prediction_id": answer["prediction_id"], "label": answer["predicted"]}
        answered.append(item)
        if client.post("/feedback", json=item).status_code == 200:
            labeled.append(item)

    with Load(server, once):
        wait_until(lambda: len(labeled) > 200)
        server.signal(signal.SIGKILL)
    again = start(tiny_store)
    statuses = [result["status"] for result in feedback(again, answered)]
    assert set(statuses) <= {"accepted", "unchanged"}
    assert {result["status"] for result in feedback(again, labeled)} == {"unchanged"}
    assert statuses.count("unchanged") >= len(labeled)


def feedback(server: Server, items: list[dict[str, str]]) -> list[dict[str, Any]]:
    body = server.client.post("/feedback", json=items).json()
    results: list[dict[str, Any]] = body["results"] if isinstance(body, dict) else body
    return results


def test_switching_back_and_forth_under_load_fails_no_request(
    start: Start, tiny_store: Store
) -> None:
    server = start(tiny_store)
    for seed in (1, 2):
        tiny_store.publish("tiny", partial(build_bundle, seed=seed))
    image = png()
    versions: list[int] = []
    failures: list[int] = []

    def once(client: httpx.Client) -> None:
        response = client.post("/predictions/tiny", content=image)
        if response.status_code == 200:
            versions.append(response.json()["version"])
        else:
            failures.append(response.status_code)

    with Load(server, once) as load:
        for version in (2, 3, 1, 2, 1):
            tiny_store.promote("tiny", version)
            wait_until(lambda wanted=version: versions[-1:] == [wanted])
    assert (failures, load.errors) == ([], [])
    assert set(versions) == {1, 2, 3}


def test_overload_is_refused_with_a_time_to_come_back_and_the_admitted_are_answered_in_time(
    start: Start, slow_store: Store
) -> None:
    server = start(slow_store, deadline_s="0.2")
    image = png(size=(96, 96))
    seen: list[tuple[int, float, str | None]] = []

    def once(client: httpx.Client) -> None:
        started_s = time.monotonic()
        response = client.post("/predictions/tiny", content=image)
        seen.append(
            (
                response.status_code,
                time.monotonic() - started_s,
                response.headers.get("Retry-After"),
            )
        )

    with Load(server, once, threads=48) as load:
        wait_until(lambda: sum(status == 200 for status, *_ in seen) > 40)
    assert {status for status, *_ in seen} == {200, 429}
    assert all(retry is not None and int(retry) >= 1 for status, _, retry in seen if status == 429)
    assert all(took_s >= 0.45 for status, took_s, _ in seen if status == 429)
    assert load.errors == []
    assert server.predict(image).status_code == 200


def test_a_burst_of_64_to_an_idle_server_with_default_settings_is_answered(
    tmp_path: Path, slow_store: Store
) -> None:
    """Images for a decoding process, and a model that needs over a second for all."""
    server = Server(slow_store.root, tmp_path, body_timeout_s="60")
    try:
        wait_until(lambda: server.client.get("/readyz").status_code == 200)
        burst = [Request("/predictions/tiny", "image/jpeg", jpeg(size=(1200, 1000)))] * 64
        assert asyncio.run(ask_all(server.port, burst, timeout_s=PATIENCE_S)) == [200] * 64
    finally:
        server.stop()
