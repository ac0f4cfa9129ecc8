"""`candor monitor` on one PostgreSQL: the leader is killed, and nothing is lost."""

import itertools
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from model_store.store.store import Store
from monitoring.drift import watch
from monitoring.ledger import Ledger
from monitoring.ledger.schema import feedback, prediction
from monitoring.maintenance import recount
from tests.builders.bundles import png
from tests.builders.postgres import Cluster
from tests.builders.processes import PATIENCE_S, Process, wait_until

ANSWERS = 160


@pytest.fixture
def site(
    tiny_store: Store, postgres: Cluster, tmp_path: Path
) -> Iterator[tuple[str, Callable[..., Process]]]:
    """The ledger's URL, and what starts processes on it."""
    running: list[Process] = []
    url = postgres.make_database()

    def start(verb: str, **settings: str) -> Process:
        here = {"ledger": url, "store": str(tiny_store.root), "threads": "1", "deadline_s": "300"}
        running.append(Process(verb, tmp_path, **(here | settings)))
        return running[-1]

    yield url, start
    for process in running:
        process.stop()


def test_the_leader_is_killed_while_labels_come(site: tuple[str, Callable[..., Process]]) -> None:
    url, start = site
    server = start("serve", monitor="apart")
    monitors = [start("monitor"), start("monitor")]
    server.await_ready()
    wait_until(lambda: any(monitor.get("/readyz")["leader"] for monitor in monitors))
    leaders = [monitor for monitor in monitors if monitor.get("/readyz")["leader"]]
    assert len(leaders) == 1
    leader, standby = leaders[0], next(monitor for monitor in monitors if monitor is not leaders[0])

    images = [png(seed) for seed in range(8)]
    answers = [
        server.client.post("/predictions/tiny", content=images[n % 8]).json()
        for n in range(ANSWERS)
    ]
    assert server.client.post("/feedback", json={}).status_code == 404  # it only records
    statuses: Counter[str] = Counter()
    sent = threading.Event()

    def label() -> None:
        """Labels one by one to both in turn; what one does not acknowledge is sent to the other."""
        places = itertools.cycle(monitors)
        for number, answer in enumerate(answers):
            word = {"prediction_id": answer["prediction_id"], "label": answer["predicted"]}
            if number == ANSWERS // 4:
                sent.set()
            while True:
                try:
                    given = next(places).client.post("/feedback", json=word)
                except httpx.TransportError:
                    continue
                assert given.status_code == 200, given.text
                statuses[given.json()["status"]] += 1
                break

    thread = threading.Thread(target=label)
    thread.start()
    assert sent.wait(PATIENCE_S)
    assert leader.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: standby.get("/readyz")["leader"])
    thread.join(timeout=PATIENCE_S)
    assert statuses["accepted"] + statuses["unchanged"] == ANSWERS
    assert statuses["unchanged"] <= 1  # the one whose acknowledgment died with the leader

    report = standby.get("/models/tiny/report")
    assert report["coverage"] == {"served": ANSWERS, "labeled": ANSWERS, "ratio": 1.0}
    assert report["drift"]["labels"] == ANSWERS
    assert "candor_monitor_leader 1.0" in standby.client.get("/metrics").text
    assert "candor_calibration_ece_ratio" not in server.client.get("/metrics").text
    assert standby.end(signal.SIGTERM) == 0
    with Ledger(url) as ledger:
        with ledger.read() as connection:
            assert connection.scalar(select(func.count()).select_from(feedback)) == ANSWERS
            assert connection.scalar(select(func.count(prediction.c.label))) == ANSWERS
            watched = watch.load(connection, 1)
            assert watched.detector.labels == ANSWERS
        assert recount.check(ledger).agrees
