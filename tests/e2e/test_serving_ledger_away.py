"""The ledger's database goes away and comes back, under servers that need it or do not."""

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Thread
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from console import monitor
from hosting.settings import Settings
from model_store.store.store import Store
from monitoring.errors import LedgerError
from tests.builders.bundles import png
from tests.builders.postgres import Cluster
from tests.builders.processes import PATIENCE_S, free_port, wait_until
from tests.builders.servers import Load, Server, Start


def test_where_it_is_not_required_answers_go_on_and_are_joined(
    start: Start, tiny_store: Store, tmp_path: Path, postgres: Cluster
) -> None:
    url = postgres.make_database()
    server = start(tiny_store, ledger=url, spool_limit_bytes=2**20, spool=str(tmp_path / "spool"))
    ids = [server.predict(png()).json()["prediction_id"]]
    postgres.kill()
    answers = [server.predict(png(), **{"X-Request-Id": f"scan-{number}"}) for number in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    ids += [answer.json()["prediction_id"] for answer in answers]
    items = [{"prediction_id": key, "label": "benign"} for key in ids]
    refused = server.client.post("/feedback", json=items)
    assert (refused.status_code, refused.json()["error"]) == (503, "ledger_unavailable")
    assert server.client.get("/readyz").status_code == 200
    assert server.metric("candor_spool_rows") == 5
    postgres.start()
    wait_until(lambda: server.metric("candor_spool_rows") == 0)
    statuses = [result["status"] for result in server.client.post("/feedback", json=items).json()]
    assert statuses == ["accepted"] * 6
    assert (
        server.metric("candor_spool_written_total")
        == server.metric("candor_spool_joined_total")
        == 5
    )
    said = [
        line["message"].partition(",")[0] for line in map(json.loads, server.log().splitlines())
    ]
    assert [line for line in said if line in ("the ledger failed", "the ledger is back")] == [
        "the ledger failed",
        "the ledger is back",
    ]
    assert '"trace"' not in server.log()


def test_where_it_is_required_answers_are_withheld_meanwhile(
    start: Start, tiny_store: Store, postgres: Cluster
) -> None:
    server = start(tiny_store, ledger=postgres.make_database())
    assert server.predict(png()).status_code == 200
    postgres.kill()
    withheld = server.predict(png())
    assert (withheld.status_code, withheld.json()["error"]) == (503, "ledger_failed")
    assert withheld.headers["Retry-After"] == "1"
    unready = server.client.get("/readyz")
    assert (unready.status_code, unready.json()["detail"]) == (
        503,
        "the ledger cannot be written, so predictions are withheld.",
    )
    assert server.client.get("/healthz").status_code == 200
    postgres.start()
    wait_until(lambda: server.predict(png()).status_code == 200)  # after a slow failure, by a probe
    assert server.client.get("/readyz").status_code == 200
    assert '"trace"' not in server.log()


def test_a_start_waits_for_a_database_that_is_coming_up(
    tiny_store: Store, tmp_path: Path, postgres: Cluster
) -> None:
    url = postgres.make_database()
    postgres.kill()
    log = tmp_path / "serve.log"

    def start_later() -> None:
        wait_until(lambda: log.exists() and '"waiting ' in log.read_text())
        postgres.start()

    later = Thread(target=start_later)
    later.start()
    server = Server(tiny_store.root, tmp_path, ledger=url)  # returns when it serves
    try:
        later.join()
        wait_until(lambda: server.predict(png()).status_code == 200)
        assert 1 <= server.log().count('"waiting ') < 4
        assert "Connection refused" in server.log()
    finally:
        server.stop()


def test_a_start_gives_up_on_a_database_in_time_and_on_a_refusal_at_once(
    monkeypatch: pytest.MonkeyPatch, postgres: Cluster
) -> None:
    url = postgres.make_database()
    nobody = url.replace(f":{postgres.port}", f":{free_port()}")
    for ledger, waits_s, least_s in ((nobody, 2, 2), (url + "-missing", 2 * PATIENCE_S, 0)):
        monkeypatch.setattr(monitor, "LEDGER_WAIT_S", waits_s)
        begun_s = time.monotonic()
        with pytest.raises(LedgerError, match="cannot be opened"):
            monitor._open_ledger(ledger, Settings())
        assert least_s <= time.monotonic() - begun_s < PATIENCE_S


@pytest.mark.nightly
@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("way", [Cluster.stopped, Cluster.without_standby])
def test_a_database_that_stalls_under_load_delays_nobody_beyond_the_deadline(
    start: Start,
    tiny_store: Store,
    tmp_path: Path,
    postgres: Cluster,
    way: Callable[[Cluster], AbstractContextManager[None]],
    required: bool,
) -> None:
    url, image, took_s = postgres.make_database(), png(), []
    server = start(
        tiny_store,
        ledger=url,
        spool_limit_bytes=0 if required else 2**26,
        spool=tmp_path / "spool",
        deadline_s=1,
    )
    answers: Counter[int] = Counter()
    labels: Counter[int] = Counter()
    ids: list[str] = []

    def once(client: httpx.Client) -> None:
        key = {"Idempotency-Key": uuid4().hex}
        while True:
            begun_s = time.monotonic()
            answer = client.post("/predictions/tiny", content=image, headers=key)
            took_s.append(time.monotonic() - begun_s)
            answers[answer.status_code] += 1
            if answer.status_code == 200:
                break
            assert answer.json()["error"] in ("ledger_failed", "overloaded")
            time.sleep(0.02)
        ids.append(answer.json()["prediction_id"])
        begun_s = time.monotonic()
        given = client.post("/feedback", json={"prediction_id": ids[-1], "label": "benign"})
        took_s.append(time.monotonic() - begun_s)
        labels[given.status_code] += 1

    with Load(server, once):
        wait_until(lambda: answers[200] > 100)
        with way(postgres):
            time.sleep(6)
            ready = server.client.get("/readyz").status_code
            assert ready == (503 if required else 200)
        wait_until(lambda: server.metric("candor_ledger_away") == 0)
        wait_until(lambda: server.metric("candor_spool_rows") == 0)
        before = answers[200]
        wait_until(lambda: answers[200] > before + 100)
    assert server.client.get("/readyz").status_code == 200
    assert max(took_s) < 3  # of which 1 s is the deadline; a busy machine needs the rest
    assert set(labels) <= {200, 503}
    assert (answers[503] > 0) == required
    assert set(answers) <= {200, 429, 503}
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        rows = connection.execute("SELECT prediction_id FROM prediction").fetchall()
    stored = Counter(str(UUID(bytes=row[0])) for row in rows)
    assert set(stored) == set(ids)  # all that was sent, and nothing twice, whatever was repeated
    assert len(ids) == len(set(ids))
    assert server.log().count('"the ledger failed, ') <= 2
    assert '"trace"' not in server.log()
