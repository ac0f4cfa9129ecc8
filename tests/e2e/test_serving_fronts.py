"""Several fronts before one main process: one truth at each of them, a switch, a killed front, and
a drain.
"""

import os
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store.store.store import Store
from serving.inference.predictor import Predictor
from tests.builders.fronts import CONNECTIONS, all_fronts
from tests.builders.processes import PATIENCE_S, wait_until
from tests.builders.servers import Load, Server

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("fronts", [2, 4])]


def test_every_front_gives_the_same_answers_and_the_one_count(
    fronts: int,
    start_fronts: Callable[..., Server],
    tiny_store: Store,
    png: Callable[..., bytes],
    clients: Callable[[Server], list[httpx.Client]],
    tmp_path: Path,
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-that-predicts predict\na-token-that-reads read\n")
    server = start_fronts(tiny_store, tokens_file=str(tokens))
    reading = {"Authorization": "Bearer a-token-that-reads"}
    sending = {"Authorization": "Bearer a-token-that-predicts"}
    connected = clients(server)
    large = png(size=(900, 700))  # for a decoding process
    expected = {
        image: pytest.approx(
            Predictor(tiny_store.read("tiny", 1)).classify(image).probabilities, abs=1e-6
        )
        for image in (png(), large)
    }

    def ask(client: httpx.Client) -> list[int]:
        for image in (png(), large):
            answer = client.post(
                "/predictions/tiny", content=image, headers=sending | {"X-Request-Id": "mine"}
            )
            assert answer.json()["probabilities"] == expected[image], answer.text
            assert answer.json()["request_id"] == "mine"
        form = client.post(
            "/predictions/tiny/1.0", files={"a": ("x.png", png(), "image/png")}, headers=sending
        )
        assert form.json()["probabilities"] == expected[png()]
        refused = [
            client.post("/predictions/tiny", content=png()),
            client.post("/predictions/tiny", content=png(), headers=reading),
            client.post("/predictions/none", content=png(), headers=sending),
            client.post("/predictions/tiny", content=png()[:90], headers=sending),
            client.post("/predictions/tiny", content=b"text", headers=sending),
            client.post(
                "/predictions/tiny", content=png(), headers=sending | {"Host": "evil.example.org"}
            ),
            client.get("/metrics"),
        ]
        return [each.status_code for each in refused]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        assert {tuple(found) for found in pool.map(ask, connected)} == {
            (401, 403, 404, 400, 415, 403, 401)
        }
    pages = [client.get("/metrics", headers=reading).text.splitlines() for client in connected]
    for wanted in (
        'candor_request_duration_seconds_count{model="tiny",version="1"} ' + f"{3.0 * CONNECTIONS}",
        "candor_decode_seconds_count " + f"{3.0 * CONNECTIONS}",
        'candor_requests_rejected_total{reason="broken_image"} ' + f"{1.0 * CONNECTIONS}",
        'candor_requests_rejected_total{reason="unauthorized"} ' + f"{2.0 * CONNECTIONS}",
        f"candor_fronts {float(fronts)}",
        "candor_front_restarts_total 0.0",
        'candor_queue_length{model="tiny",version="1"} 0.0',
    ):
        assert all(wanted in page for page in pages), wanted
    tokens.write_text("another-token-that-predicts predict\n")
    wait_until(lambda: "tokens were read again" in server.log())
    fresh = {"Authorization": "Bearer another-token-that-predicts"}
    for given, status in ((sending, 401), (fresh, 200)):
        answers = [
            client.post("/predictions/tiny", content=png(), headers=given) for client in connected
        ]
        assert {answer.status_code for answer in answers} == {status}
    assert "Traceback" not in server.log()
    assert '"trace"' not in server.log()


def test_a_switch_to_a_model_of_another_input_fails_no_request(
    start_fronts: Callable[..., Server],
    tiny_store: Store,
    make_bundle: Callable[..., Any],
    png: Any,
) -> None:
    server = start_fronts(tiny_store)
    tiny_store.publish("tiny", partial(make_bundle, seed=1, height=12, width=10))
    versions: list[int] = []
    failures: list[str] = []

    def once(client: httpx.Client) -> None:
        response = client.post("/predictions/tiny", content=png())
        if response.status_code == 200:
            versions.append(response.json()["version"])
        else:
            failures.append(response.text)

    with Load(server, once, threads=12) as load:
        for version in (2, 1, 2):
            tiny_store.promote("tiny", version)
            wait_until(lambda wanted=version: versions[-1:] == [wanted])  # type: ignore[misc]
    assert (failures, load.errors) == ([], [])
    assert set(versions) == {1, 2}


def test_when_a_front_is_killed_the_others_answer_nothing_is_lost_and_it_comes_back(
    fronts: int,
    start_fronts: Callable[..., Server],
    tiny_store: Store,
    png: Callable[..., bytes],
    tmp_path: Path,
    clients: Callable[[Server], list[httpx.Client]],
) -> None:
    server = start_fronts(tiny_store)
    answered: list[str] = []
    image = png()

    def once(client: httpx.Client) -> None:
        answered.append(client.post("/predictions/tiny", content=image).json()["prediction_id"])

    with Load(server, once, threads=CONNECTIONS) as load:
        pids = all_fronts(server, fronts)
        wait_until(lambda: len(answered) > 100)
        os.kill(pids[0], signal.SIGKILL)
        before = len(answered)
        wait_until(lambda: len(answered) > before + 200)
        all_fronts(server, fronts, without=pids[0])
    assert 0 < len(load.errors) < CONNECTIONS  # those of its connections alone
    assert {
        client.post("/predictions/tiny", content=image).status_code for client in clients(server)
    } == {200}
    page = httpx.get(f"{server.url}/metrics").text.splitlines()
    assert {"candor_front_restarts_total 1.0", f"candor_fronts {float(fronts)}"} <= set(page)
    server.process.kill()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        known = {
            bytes(row[0]).hex() for row in ledger.execute("SELECT prediction_id FROM prediction")
        }
    assert {each.replace("-", "") for each in answered} <= known
    wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids))


def test_sigterm_answers_all_32_whatever_their_front_and_leaves_no_process(
    fronts: int,
    start_fronts: Callable[..., Server],
    slow_store: Store,
    png: Callable[..., bytes],
    clients: Callable[[Server], list[httpx.Client]],
) -> None:
    server = start_fronts(slow_store, drain_delay_s="5.0")
    connected = clients(server)
    image = png(size=(96, 96))
    pids = all_fronts(server, fronts)
    with ThreadPoolExecutor(32) as pool:
        sent = [
            pool.submit(
                httpx.post, f"{server.url}/predictions/tiny", content=image, timeout=PATIENCE_S
            )
            for _ in range(32)
        ]
        wait_until(lambda: server.metric("candor_queue_length") > 8)
        server.signal(signal.SIGTERM)
        wait_until(lambda: connected[0].get("/readyz").status_code == 503)
        assert {client.get("/readyz").status_code for client in connected[:8]} == {503}
        assert [future.result().status_code for future in sent] == [200] * 32
    assert server.exit_code() == 0
    assert "Traceback" not in server.log()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
