"""The spool as a file: what is in it after a crash, how much it takes, and to whom it belongs."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.errors import LedgerError, SpoolFull
from monitoring.ledger import PredictionRow
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


def test_frames_come_out_in_order_and_in_portions(path: Path) -> None:
    with Spool(path, limit_bytes=LIMIT) as spool:
        for numbers_together in ((1, 2), (3,), (4, 5, 6)):
            spool.append(frame(*numbers_together))
        assert spool.rows == 6
        assert [len(part.rows) for part in spool.read(rows=3)] == [2, 1]
        spool.drop(2)
        assert [len(part.rows) for part in spool.read(rows=1)] == [3]  # at least one
        spool.drop(1)
        assert (spool.rows, spool.size_bytes, spool.read(rows=9)) == (0, 0, [])
        spool.append(frame(7))
        assert numbers(spool) == [["scan-7"]]


def test_what_was_spooled_is_there_for_the_next_process(path: Path) -> None:
    with Spool(path, limit_bytes=LIMIT) as spool:
        spool.append(frame(1, 2))
        spool.append(frame(3))
    with Spool(path, limit_bytes=LIMIT) as spool:
        assert (numbers(spool), spool.rows) == ([["scan-1", "scan-2"], ["scan-3"]], 3)
        spool.append(frame(4))
    with Spool(path, limit_bytes=0) as spool:
        assert spool.rows == 4
        with pytest.raises(SpoolFull):
            spool.append(frame(5))
        spool.drop(3)
    assert not path.exists()  # it takes no more and holds nothing


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
