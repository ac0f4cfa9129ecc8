"""A database that says nothing, or a slow file: every reader hears so in time, and Prometheus
gets what was read last.
"""

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from monitoring.ledger import database
from monitoring.metrics import ledger_gauges
from tests.builders.monitored import Clock, MonitoredModel, page_client_of
from tests.builders.postgres import Cluster

pytestmark = pytest.mark.anyio
LIMIT_S, WAIT_S, SPARE_S = 3.0, 0.5, 3.0
READS = (
    *("/models/pneumonia/report", "/models/pneumonia/report/page", "/models/pneumonia/answers"),
    *("/reports", "/models/pneumonia/report/waiting", "/models/pneumonia/report/sources"),
)
AGE = "candor_ledger_read_age_seconds"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, patient: None) -> None:
    monkeypatch.setattr(database, "READ_S", LIMIT_S)
    monkeypatch.setattr(ledger_gauges, "WAIT_S", WAIT_S)


async def timed(client: httpx.AsyncClient, path: str) -> tuple[float, httpx.Response]:
    begun_s = time.monotonic()
    return -begun_s + (got := (await client.get(path), time.monotonic()))[1], got[0]


def gauge(text: str, name: str) -> float:
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


async def test_reads_end_in_time_and_metrics_are_those_read_last(
    postgres: Cluster, tmp_path: Path
) -> None:
    with MonitoredModel(postgres.make_database(), Clock(), timeout_s=2.0) as monitored:
        monitored.answer(range(100), wrong=5)
        async with page_client_of(monitored, tmp_path) as client:
            before = [(await client.get(path)).status_code for path in READS]
            labels = gauge((await client.get("/metrics")).text, "candor_calibration_labels")
            with postgres.stopped():
                read = [asyncio.create_task(timed(client, path)) for path in READS]
                await asyncio.sleep(0.2)
                for _ in range(3):
                    took_s, scraped = await timed(client, "/metrics")
                    assert took_s < WAIT_S + 1
                    assert gauge(scraped.text, "candor_calibration_labels") == labels
                    await asyncio.sleep(0.3)
                assert gauge(scraped.text, AGE) > 1
                answered = await asyncio.gather(*read)
                assert max(took_s for took_s, _ in answered) < LIMIT_S + SPARE_S
                assert {got.status_code for _, got in answered} == {503}
            after = [(await client.get(path)).status_code for path in READS]
    assert before == after == [200] * len(READS)


async def test_a_read_that_has_begun_when_the_database_stalls_ends_in_time(
    postgres: Cluster,
) -> None:
    def read() -> None:
        with monitored.ledger.read() as connection:
            connection.exec_driver_sql("SELECT 1")
            with postgres.stopped():
                connection.exec_driver_sql("SELECT 2")

    with MonitoredModel(postgres.make_database(), Clock(), timeout_s=2.0) as monitored:
        begun_s = time.monotonic()
        with pytest.raises(OperationalError, match="no answer"):
            read()
        assert time.monotonic() - begun_s < LIMIT_S + SPARE_S


async def test_metrics_do_not_wait_for_a_file_that_is_slow(tmp_path: Path) -> None:
    slow = False

    def wait(*_: object) -> None:
        time.sleep(2 if slow else 0)

    with MonitoredModel(tmp_path / "ledger.db", Clock()) as monitored:
        monitored.answer(range(100), wrong=5)
        event.listen(monitored.ledger._engine, "before_cursor_execute", wait)
        async with page_client_of(monitored, tmp_path) as client:
            labels = gauge((await client.get("/metrics")).text, "candor_calibration_labels")
            slow = True
            for _ in range(2):
                took_s, scraped = await timed(client, "/metrics")
                assert took_s < WAIT_S + 1
                assert gauge(scraped.text, "candor_calibration_labels") == labels
            slow = False
