"""What is acknowledged is there once, whatever is killed, stopped, full or slow."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import Connection, event, select
from sqlalchemy.exc import OperationalError

from monitoring.errors import AnswersSpooled, LedgerError, SpoolFull
from monitoring.feedback import FeedbackItem
from monitoring.ledger import Ledger, database
from monitoring.ledger.schema import IS_LABELED, feedback, prediction
from monitoring.metrics import ledger_gauges
from monitoring.recording import fallback
from monitoring.recording.fallback import LedgerAway
from monitoring.recording.spool import Spool
from tests.builders.answers import label, make_row, prediction_id
from tests.builders.monitored import (
    Clock,
    MonitoredModel,
    assert_same_state,
    assert_same_sums,
    page_client_of,
)
from tests.builders.postgres import Cluster
from tests.builders.processes import wait_until

ROOT = Path(__file__).parents[3]


WRITER = """
import os, sys
from pathlib import Path
from tests.builders.answers import label, make_row
from tests.builders.monitored import Clock, MonitoredModel

path, start = Path(sys.argv[1]), int(sys.argv[2])
monitored = MonitoredModel(path, Clock())

def say(line):
    os.write(1, (line + "\\n").encode())  # one write: a kill cuts no line but the last

def name(number):
    return "normal" if number % 3 == 0 else "pneumonia"

for batch in range(100_000):
    numbers = range(start + 8 * batch, start + 8 * batch + 8)
    rows = [make_row(number, confidence=0.5 + (number % 50) / 100) for number in numbers]
    monitored.recorder.record(rows, lambda error, numbers=numbers: say(f"served {numbers.start}"))
    if batch >= 20:
        due = [number - 160 for number in numbers]
        future = monitored.recorder.feedback([label(number, name(number)) for number in due])
        future.add_done_callback(
            lambda done, due=due: say(f"labeled {due[0]} {done.result()[0].status}")
        )
    if batch % 10 == 0:
        monitored.recorder.feedback([]).result()
        monitored.serve(make_row(start + 10_000_000 + batch))  # wait for the queue
"""


def write_until_killed(path: Path, start: int, lines: int) -> list[list[str]]:
    """The writer's acknowledgments, at least `lines`, until it was killed."""
    command = [sys.executable, "-c", WRITER, str(path), str(start)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        heard = list(_until(process.stdout, lines))
        os.kill(process.pid, signal.SIGKILL)
        heard += list(process.stdout)
    assert process.returncode == -signal.SIGKILL
    return [line.split() for line in heard if line.endswith("\n")]


def _until(stream: Iterator[str], lines: int) -> Iterator[str]:
    for _, line in zip(range(lines), stream, strict=False):
        yield line


def test_nothing_acknowledged_is_lost_and_nothing_counts_twice(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    acknowledged = [
        line
        for life, lines in enumerate((60, 101))
        for line in write_until_killed(path, 1_000_000 * life, lines)
    ]
    served = {
        int(number) + step
        for kind, number, *_ in acknowledged
        if kind == "served"
        for step in range(8)
    }
    labeled = {
        int(number) + step
        for kind, number, *_ in acknowledged
        if kind == "labeled"
        for step in range(8)
    }
    assert {status for kind, _, *rest in acknowledged if kind == "labeled" for status in rest} == {
        "accepted"
    }
    assert labeled
    with MonitoredModel(path, Clock()) as monitored:
        check_killed(monitored, served=served, labeled=labeled)
        monitored.serve(make_row(99_000_000))  # and it goes on
        assert_same_state(*monitored.detectors())


def check_killed(monitored: MonitoredModel, *, served: set[int], labeled: set[int]) -> None:
    with monitored.ledger.read() as connection:
        answers = set(connection.scalars(select(prediction.c.prediction_id)))
        current = connection.execute(select(prediction).where(IS_LABELED)).all()
        revisions = connection.execute(select(feedback)).all()
    assert {prediction_id(number) for number in served} <= answers
    assert {prediction_id(number) for number in labeled} <= {row.prediction_id for row in current}
    assert len(revisions) == len(current)  # each label once, none corrected
    assert monitored.sums().served.sum() == len(answers)
    assert_same_sums(
        monitored.sums().labeled, [(row.confidence, row.label == row.predicted) for row in current]
    )
    stored, replayed = monitored.detectors()
    assert_same_state(stored, replayed)
    assert stored.labels == len(current)
    assert monitored.rows("PRAGMA integrity_check") == [("ok",)]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(fallback, "LONGEST_PAUSE_S", 0.2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "candor", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def is_joined(monitored: MonitoredModel) -> bool:
    return monitored.registry.get_sample_value("candor_spool_rows") == 0


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def serve_on(monitored: MonitoredModel, served: set[int]) -> None:
    """Serve until that fails."""
    for start in range(100, 100_000, 20):
        numbers = range(start, start + 20)
        monitored.serve(*(make_row(number) for number in numbers))
        served |= set(numbers)


def check(monitored: MonitoredModel, served: set[int]) -> None:
    """Every answer is there once, counted once, and can be labeled."""
    rows = monitored.rows("SELECT count(*), count(DISTINCT prediction_id) FROM prediction")
    assert rows == [(len(served), len(served))]
    assert monitored.sums().served.sum() == len(served)
    assert set(monitored.label(*(label(number) for number in sorted(served)))) == {"accepted"}
    assert_same_state(*monitored.detectors())


def test_on_a_full_disk_answers_go_on_until_the_spool_is_full_too(small_disk: Path) -> None:
    """Ledger and spool on the same disk: the spool has had its place from the start."""
    with (
        Spool(small_disk / "spool", limit_bytes=2**16) as spool,
        MonitoredModel(small_disk / "ledger.db", Clock(), spool=spool) as monitored,
    ):
        monitored.serve(make_row(0))
        filler = fill(small_disk)
        served = {0}
        with pytest.raises(SpoolFull):
            serve_on(monitored, served)
        assert len(served) > 200
        assert spool.rows > 100
        with pytest.raises(AnswersSpooled):
            monitored.label(label(0))
        filler.unlink()
        wait_until(lambda: is_joined(monitored))
        monitored.serve(make_row(7))
        check(monitored, served | {7})
        assert monitored.rows("PRAGMA integrity_check") == [("ok",)]


def test_without_a_spool_a_full_disk_fails_answers_until_there_is_room(small_disk: Path) -> None:
    with MonitoredModel(small_disk / "ledger.db", Clock()) as monitored:
        filler = fill(small_disk)
        served: set[int] = set()
        with pytest.raises(OperationalError, match="full"):
            serve_on(monitored, served)
        filler.unlink()
        monitored.serve(make_row(7))
        check(monitored, served | {7})


def test_while_postgresql_is_stopped_answers_go_on_and_are_joined_when_it_is_back(
    postgres: Cluster, tmp_path: Path
) -> None:
    with (
        Spool(tmp_path / "spool", limit_bytes=2**20) as spool,
        MonitoredModel(postgres.make_database(), Clock(), spool=spool) as monitored,
    ):
        monitored.serve(make_row(0))
        served = {0}
        postgres.kill()
        for number in range(100, 130):
            monitored.serve(make_row(number))
            served.add(number)
        with pytest.raises((AnswersSpooled, OperationalError)):
            monitored.label(label(0))
        assert spool.rows == 30
        postgres.start()
        wait_until(lambda: is_joined(monitored))
        assert monitored.metric("predictions_total") == 31
        check(monitored, served)


SPOOLER = """
import os, sys, time
from pathlib import Path
from monitoring.recording import fallback
from monitoring.recording.spool import Spool
from tests.builders.answers import make_row
from tests.builders.monitored import Clock, MonitoredModel

folder, start = Path(sys.argv[1]), int(sys.argv[2])
fallback.FIRST_PAUSE_S, fallback.LONGEST_PAUSE_S, fallback.ROWS_AT_ONCE = 0.05, 0.05, 20
spool = Spool(folder / "spool", limit_bytes=2**22)
monitored = MonitoredModel(folder / "ledger.db", Clock(), spool=spool, timeout_s=0.01)
os.write(1, b"ready\\n")
sys.stdin.readline()
before = spool.rows
for batch in range(100_000):
    while spool.rows > before + 2_000:  # a spool in memory is filled faster than it is joined
        time.sleep(0.01)
    numbers = range(start + 8 * batch, start + 8 * batch + 8)
    monitored.serve(*(make_row(number) for number in numbers))
    os.write(1, b"served %d\\n" % numbers.start)  # one write: a kill cuts no line but the last
"""


@pytest.mark.parametrize("after", ["while it is away", "while it is joined"])
def test_kill_9_loses_and_repeats_nothing(tmp_path: Path, after: str) -> None:
    served: set[int] = set()
    for life in range(2):
        command = [sys.executable, "-c", SPOOLER, str(tmp_path), str(1_000_000 * (life + 1))]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "ready\n"
            with contextlib.closing(
                sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
            ) as other:
                other.execute("BEGIN IMMEDIATE")  # nobody else can write
                process.stdin.write("go\n")
                process.stdin.flush()
                lines = [process.stdout.readline() for _ in range(25)]
                if after == "while it is joined":
                    other.execute("ROLLBACK")
                    before = joined_rows(tmp_path)
                    wait_until(partial(has_joined, tmp_path, before + 20))
                os.kill(process.pid, signal.SIGKILL)
                lines += list(process.stdout)
        for line in lines:
            if line.endswith("\n"):
                served |= set(range(int(line.split()[1]), int(line.split()[1]) + 8))
    assert served
    with (
        Spool(tmp_path / "spool", limit_bytes=0) as spool,
        MonitoredModel(tmp_path / "ledger.db", Clock(), spool=spool) as monitored,
    ):
        wait_until(lambda: is_joined(monitored))
        there = {
            int.from_bytes(key[-6:], "big")
            for (key,) in monitored.rows("SELECT prediction_id FROM prediction")
        }
        assert served <= there
        assert len(there - served) <= 2 * 8  # of the batch under way when it was killed
        assert prediction_id(min(served))[-6:] == min(served).to_bytes(6, "big")
        check(monitored, there)


def has_joined(folder: Path, rows: int) -> bool:
    return joined_rows(folder) >= rows


def joined_rows(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as reader:
        return int(reader.execute("SELECT count(*) FROM prediction").fetchone()[0])


WRITERS, BATCHES = 4, 30


@pytest.fixture
def url(postgres: Cluster) -> str:
    return postgres.make_database()


def by_request(number: int) -> FeedbackItem:
    return FeedbackItem("pneumonia", None, "pneumonia", f"scan-{number}")


@pytest.mark.nightly
@pytest.mark.parametrize("named_by", ["prediction id", "request id"])
def test_many_replicas_answer_and_label_at_once(url: str, named_by: str) -> None:
    """Two replicas send every label; one by request id may come before its answer."""
    name = by_request if named_by == "request id" else label
    desks = [MonitoredModel(url, Clock()) for _ in range(WRITERS)]

    def work(replica: int) -> list[str]:
        got = []
        for batch in range(BATCHES):
            numbers = range(1000 * replica + 4 * batch, 1000 * replica + 4 * batch + 4)
            desks[replica].serve(
                *(make_row(number, request_id=f"scan-{number}") for number in numbers)
            )
            neighbor = (replica + 1) % WRITERS
            theirs = [1000 * neighbor + 4 * batch + step for step in range(4)]
            items = [label(number) for number in numbers] + [name(number) for number in theirs]
            got += desks[replica].label(*items)
        return got

    with ThreadPoolExecutor(WRITERS) as pool:
        statuses = Counter(status for each in pool.map(work, range(WRITERS)) for status in each)
    answers = 4 * BATCHES * WRITERS
    assert statuses.total() == 2 * answers
    assert set(statuses) <= {
        "accepted",
        "unchanged",
        "pending" if name is by_request else "unknown",
    }
    # none was missed, none waits for ever
    assert desks[0].rows("SELECT count(*) FROM feedback_pending") == [(0,)]
    assert_same_sums(desks[0].sums().labeled, [(0.9, True)] * answers)
    assert desks[0].rows("SELECT count(*), count(DISTINCT prediction_id) FROM feedback") == [
        (answers, answers)
    ]
    assert_same_state(*desks[0].detectors())
    for monitored in desks:
        monitored.close()


def test_a_database_without_an_encoding_is_a_ledger_too(postgres: Cluster, url: str) -> None:
    """As `initdb` makes it where no locale is set."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare ENCODING 'SQL_ASCII' TEMPLATE template0")
    with MonitoredModel(f"{url.rpartition('/')[0]}/bare", Clock()) as monitored:
        monitored.serve(make_row(1, request_id="Aufnahme-größer"))
        assert monitored.rows("SELECT request_id FROM prediction") == [("Aufnahme-größer",)]


def test_replicas_that_start_at_once_make_the_tables_once(url: str) -> None:
    def start(_: int) -> int:
        with MonitoredModel(url, Clock()) as monitored:
            return monitored.watched_version_id

    with ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(start, range(6)))
    # One row for all. Its id need not be 1: PostgreSQL's sequence also counts the inserts that
    # found the row there.
    with MonitoredModel(url, Clock()) as monitored:
        assert ids == {monitored.watched_version_id}
        assert monitored.rows("SELECT count(*) FROM watched_versions") == [(1,)]


def test_a_connection_that_was_lost_between_commits_is_not_noticed(
    postgres: Cluster, url: str
) -> None:
    with MonitoredModel(url, Clock()) as monitored:
        monitored.serve(make_row(1))
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as other:
            mine = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
                "'candor'"
            )
            assert other.execute(mine).rowcount >= 1
        monitored.serve(make_row(2))
        assert monitored.label(label(1), label(2)) == ["accepted"] * 2
        assert_same_state(*monitored.detectors())


def test_a_database_that_does_not_answer_is_named_without_the_password(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    where = url.replace("candor@", "candor:geheim@").rsplit(":", 1)[0] + ":1/ledger"
    with pytest.raises(LedgerError) as refused:
        Ledger(where)
    assert "***" in str(refused.value)
    assert "geheim" not in str(refused.value) + repr(refused.value.__cause__) + caplog.text
    with pytest.raises(LedgerError) as refused:
        Ledger("postgresql//candor:geheim@host/ledger")
    assert "geheim" not in str(refused.value)
    with Ledger(url.replace("candor@", "candor:geheim@")) as ledger:
        assert "geheim" not in ledger.name + repr(ledger.url)


@pytest.mark.parametrize(
    "way", [Cluster.stopped, pytest.param(Cluster.without_standby, marks=pytest.mark.nightly)]
)
def test_a_commit_that_gets_no_answer_fails_in_time_and_later_ones_succeed(
    postgres: Cluster,
    url: str,
    way: Callable[[Cluster], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()  # a second is slow
    monkeypatch.setattr(fallback, "LONGEST_PAUSE_S", 0.1)
    probes: list[int] = []
    with MonitoredModel(url, Clock(), timeout_s=1.0) as monitored:
        probe = monitored.recorder._thread.outage._probe
        monitored.recorder._thread.outage._probe = lambda: (probes.append(1), probe())
        monitored.serve(make_row(1))
        with way(postgres):
            with pytest.raises(OperationalError):
                monitored.serve(make_row(2))
            for number in range(3, 6):  # nobody waits for it again
                with pytest.raises(LedgerAway):
                    monitored.serve(make_row(number))
                with pytest.raises(LedgerAway):
                    monitored.label(label(1))
            assert monitored.registry.get_sample_value("candor_ledger_away") == 1
            if way is Cluster.without_standby:
                wait_until(lambda: len(probes) > 3)  # all leave one session, not one each
                with psycopg.connect(url.replace("+psycopg", "")) as other:
                    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                    assert other.execute(waiting).fetchone() == (2,)
        wait_until(lambda: not monitored.recorder.ledger_is_away)
        monitored.serve(make_row(4))
        assert monitored.label(label(4)) == ["accepted"]


def test_a_look_for_an_answer_waits_for_the_commit_that_was_given_up(
    postgres: Cluster, url: str
) -> None:
    """The database goes on with it: a retry that did not see it would be a second answer."""

    def somebody_waits() -> bool:
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
        return bool(row and row[0])

    impatient, other = MonitoredModel(url, Clock(), timeout_s=2), MonitoredModel(url, Clock())
    with closing(impatient), closing(other):
        with postgres.without_standby():
            with pytest.raises(OperationalError):
                impatient.serve(make_row(1, request_id="scan-1"))
            asked = other.recorder.recorded(other.watched_version_ids, ["scan-1"])
            wait_until(lambda: asked.done() or somebody_waits())
        assert list(asked.result()) == [make_row(1).prediction_id]


def test_a_commit_of_many_slow_statements_has_one_limit(url: str) -> None:
    def slowly(connection: Connection) -> None:
        for _ in range(10):
            connection.exec_driver_sql("SELECT pg_sleep(0.4)")

    with (
        Ledger(url, timeout_s=1.0) as ledger,
        closing(ledger.writer()) as writer,
        pytest.raises(OperationalError),
    ):
        writer.run(slowly)


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


@pytest.mark.anyio
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


@pytest.mark.anyio
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


@pytest.mark.anyio
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
