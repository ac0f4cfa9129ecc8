"""Answers through the spool: when the ledger is asked, what is joined and said."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from monitoring.errors import ModelNotInLedger, SpoolFull
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording import fallback
from monitoring.recording.fallback import REFUSED_PAUSE_S, Fallback, LedgerAway, Outage, is_away
from monitoring.recording.spool import Frame, Spool
from tests.builders.answers import make_row
from tests.builders.processes import PATIENCE_S

AWAY = OperationalError("INSERT", {}, Exception("the disk is full"))
ROW = WatchedVersion(1, "pneumonia", 1, "0" * 64, "", '{"classes": ["a"]}', 0, None)


class Bench:
    """A fallback with a clock moved by hand; `error` is what joining meets."""

    def __init__(self, path: Path, limit_bytes: int = 2**16) -> None:
        self.now_s = 100.0
        self.error: Exception | None = None
        self.joined: list[list[Frame]] = []
        self.registry = CollectorRegistry()
        self.spool = Spool(path, limit_bytes=limit_bytes)
        metrics = MonitorMetrics(self.registry)
        self.over = threading.Event()
        self.outage = Outage(lambda: self.join([]), metrics.ledger_away, over=self.over.set)
        self.fallback = Fallback(
            self.spool, metrics, self.outage, join=self.join, clock_s=lambda: self.now_s
        )

    def join(self, frames: Sequence[Frame]) -> None:
        if frames:
            self.joined.append(list(frames))
        if self.error is not None:
            raise self.error

    def take(self, *numbers: int) -> None:
        self.fallback.take([make_row(number) for number in numbers], {1: ROW})

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"candor_spool_{name}")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(fallback, "FIRST_PAUSE_S", 0.001)
    bench = Bench(tmp_path / "candor.spool")
    yield bench
    bench.outage.close()
    bench.spool.close()


@pytest.mark.parametrize(
    "away",
    [AWAY, DatabaseError("x", {}, Exception("malformed")), PoolTimeout("no"), LedgerAway()],
)
def test_faults_of_the_database_are_told_from_faults_of_what_is_written(away: Exception) -> None:
    assert is_away(away)
    for fault in (
        IntegrityError("x", {}, Exception()),
        DataError("x", {}, Exception()),
        ModelNotInLedger("x"),
        OSError(),
    ):
        assert not is_away(fault)


def test_nothing_is_moved_during_an_outage_and_everything_after_it(bench: Bench) -> None:
    bench.error = AWAY
    bench.take(1)
    bench.fallback.advance()
    assert bench.outage.left_alone
    assert bench.fallback.wait_s is None
    bench.fallback.advance()
    assert len(bench.joined) == 1
    bench.error = None
    assert bench.over.wait(PATIENCE_S)
    bench.fallback.advance()
    assert (bench.metric("written_total"), bench.metric("joined_total"), bench.metric("rows")) == (
        1,
        1,
        0,
    )
    assert bench.metric("bytes") == 0


def test_a_full_spool_is_one_line(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    many = range(1000)
    for _ in range(3):
        with pytest.raises(SpoolFull):
            bench.take(*many)
    assert len(caplog.messages) == 1
    bench.take(1)
    assert bench.metric("rows") == 1
    assert bench.metric("bytes") == bench.spool.size_bytes > 100


def test_one_frame_that_is_refused_for_good_is_set_aside(bench: Bench, tmp_path: Path) -> None:
    bench.take(1)
    bench.take(2)
    bench.take(3)
    refused = bench.spool.read(rows=9)[1]

    def join(frames: Sequence[Frame]) -> None:
        if refused in frames:
            raise ModelNotInLedger("pneumonia", 1)
        bench.joined.append(list(frames))

    bench.fallback._join = join
    bench.fallback.advance()
    assert [[row.prediction_id for row in frames[0].rows] for frames in bench.joined] == [
        [make_row(number).prediction_id] for number in (1, 3)
    ]
    assert bench.fallback.rows == 0
    assert (tmp_path / "candor.spool.refused").read_bytes() == refused.as_line()


def test_where_nothing_can_be_set_aside_the_answers_stay(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.take(1)
    bench.error = ModelNotInLedger("pneumonia")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "set_aside", full)
    bench.fallback.advance()
    assert bench.fallback.rows == 1
    assert not bench.outage.lasts  # it is well: answers need no fallback
    assert bench.fallback.wait_s == REFUSED_PAUSE_S  # but no hurry either
