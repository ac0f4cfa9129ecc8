"""The spool as a file after a crash, and answers that go through it: what is joined and said."""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from monitoring.errors import LedgerError, ModelNotInLedger, SpoolFull
from monitoring.ledger import PredictionRow
from monitoring.ledger.watched_version import WatchedVersion
from monitoring.metrics.counters import MonitorMetrics
from monitoring.recording import fallback
from monitoring.recording.fallback import REFUSED_PAUSE_S, Fallback, LedgerAway, Outage, is_away
from monitoring.recording.spool import CardKey, Frame, Spool
from tests.builders.answers import make_row

LIMIT = 2**16
CARDS = {1: CardKey("pneumonia", 1, "0" * 64)}


def frame(*numbers: int) -> Frame:
    return Frame(CARDS, [make_row(number, request_id=f"scan-{number}") for number in numbers])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "candor.spool"


def numbers(spool: Spool) -> list[list[str | None]]:
    return [[row.request_id for row in frame.rows] for frame in spool.read(rows=10**6)]


texts, shares = st.none() | st.text(), st.floats(0, 1)
fields = st.tuples(texts, st.just(2), shares, st.binary(max_size=40), st.just(2**62), texts)


@given(fields, st.none() | shares)
def test_a_row_is_read_as_it_was_written(fields: Any, audit: float | None) -> None:
    row = PredictionRow(b"\xff" * 16, 3, *fields, audit)
    cards = {3: CardKey("a-b", 7, "f" * 64)}
    line = Frame(cards, [row]).as_line()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert b"\0" not in line
    assert Frame.from_line(line) == Frame(cards, [row])


@pytest.mark.parametrize("cut", [1, 2, 10, 200])
def test_a_half_written_last_frame_is_dropped_and_the_next_takes_its_place(
    path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Spool(path, limit_bytes=LIMIT) as spool:
        spool.append(frame(1))
        end = spool.size_bytes
    torn = frame(2, 3).as_line()
    with path.open("r+b") as file:
        file.seek(end)
        file.write(torn[:-cut])
    with Spool(path, limit_bytes=LIMIT) as spool:
        assert (numbers(spool), spool.size_bytes) == ([["scan-1"]], end)
        spool.append(frame(4))
    with Spool(path, limit_bytes=LIMIT) as spool:
        assert numbers(spool) == [["scan-1"], ["scan-4"]]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_longer_frame_that_was_undone_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Spool(path, limit_bytes=LIMIT) as spool:
        with monkeypatch.context() as patch:
            patch.setattr(
                os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error"))
            )
            with pytest.raises(OSError, match="Input/output"):
                spool.append(frame(1, 2))
        assert spool.rows == 0
        spool.append(frame(3))
    with Spool(path, limit_bytes=LIMIT) as spool:
        assert numbers(spool) == [["scan-3"]]


def test_damage_in_the_middle_costs_its_own_line_and_is_kept(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Spool(path, limit_bytes=LIMIT) as spool:
        for number in (1, 2, 3):
            spool.append(frame(number))
        length = spool.size_bytes // 3
    with path.open("r+b") as file:
        file.seek(length + 100)
        file.write(b"\0")
    before = path.read_bytes()
    with Spool(path, limit_bytes=LIMIT) as spool:
        assert numbers(spool) == [["scan-1"], ["scan-3"]]
        assert spool.size_bytes == 3 * length
    assert path.with_name("candor.spool.damaged").read_bytes() == before
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_it_is_bounded_and_has_its_place_from_the_start(path: Path) -> None:
    with Spool(path, limit_bytes=LIMIT) as spool:
        assert path.stat().st_blocks * 512 >= LIMIT
        taken = LIMIT // len(frame(1).as_line())
        for _ in range(taken):
            spool.append(frame(1))
        with pytest.raises(SpoolFull, match="65,536 bytes"):
            spool.append(frame(1))
        assert spool.rows == taken > 100
        assert path.stat().st_size == LIMIT
        spool.drop(taken)
        spool.append(frame(0))
        assert path.stat().st_blocks * 512 >= LIMIT
    assert path.stat().st_mode & 0o777 == 0o600  # it holds what the ledger holds


def test_it_belongs_to_one_process(path: Path) -> None:
    with Spool(path, limit_bytes=LIMIT), pytest.raises(LedgerError):
        Spool(path, limit_bytes=LIMIT)
    with pytest.raises(LedgerError):
        Spool(path / "no" / "folder", limit_bytes=LIMIT)


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
