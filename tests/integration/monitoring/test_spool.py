"""Answers while the ledger is away (full disk, stopped PostgreSQL), and kill -9 meanwhile."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from monitoring.errors import AnswersSpooled, SpoolFull
from monitoring.recording import fallback
from monitoring.recording.spool import Spool
from tests.builders.answers import label, make_row, prediction_id
from tests.builders.monitored import Clock, MonitoredModel, assert_same_state
from tests.builders.postgres import Cluster
from tests.builders.processes import wait_until

ROOT = Path(__file__).parents[3]


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
                lines = [process.stdout.readline() for _ in range(60)]
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
