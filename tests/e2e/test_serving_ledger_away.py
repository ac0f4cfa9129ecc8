"""The ledger's database goes away and comes back, under a server that needs it and one that does
not.
"""

import json
import os
from pathlib import Path

import pytest

from model_store.store.store import Store
from tests.builders.bundles import Png
from tests.builders.postgres import Cluster
from tests.builders.processes import wait_until
from tests.builders.servers import Start


def test_where_it_is_not_required_answers_go_on_and_are_joined(
    start: Start, tiny_store: Store, tmp_path: Path, postgres: Cluster, png: Png
) -> None:
    url = postgres.make_database()
    server = start(tiny_store, ledger=url, ledger_required="false", spool=str(tmp_path / "spool"))
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
    start: Start, tiny_store: Store, postgres: Cluster, png: Png
) -> None:
    server = start(tiny_store, ledger=postgres.make_database())
    assert server.predict(png()).status_code == 200
    postgres.kill()
    withheld = server.predict(png())
    assert (withheld.status_code, withheld.json()["error"]) == (503, "ledger_failed")
    assert server.client.get("/readyz").status_code == 200
    postgres.start()
    assert server.predict(png()).status_code == 200
    assert '"trace"' not in server.log()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_an_unreadable_store_is_one_line(start: Start, tiny_store: Store, png: Png) -> None:
    server = start(tiny_store)
    tiny_store.root.chmod(0)
    try:
        wait_until(lambda: "scan of the store failed" in server.log())
        assert server.predict(png()).status_code == 200
    finally:
        tiny_store.root.chmod(0o755)
    wait_until(lambda: "the store can be scanned again" in server.log())
    assert server.log().count("scan of the store failed") == 1
    assert '"trace"' not in server.log()
