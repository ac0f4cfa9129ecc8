"""What is appended to an outbox is delivered once, in order, whoever is killed."""

import json
import os
from pathlib import Path

import pytest

from model_store.torchserve.outbox import left_behind, new_file


def waiting(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.ndjson"))


def rows(*numbers: int) -> list[dict[str, int]]:
    return [{"number": number} for number in numbers]


def test_rows_come_back_in_order_until_they_are_delivered(tmp_path: Path) -> None:
    box = new_file(tmp_path / "outbox")
    assert box.append(rows(1, 2))
    assert box.append(rows(3))
    read, size_bytes = box.rows()
    assert read == rows(1, 2, 3)
    assert box.append(rows(4))  # while those are on their way
    box.deliver(size_bytes)
    assert box.rows()[0] == rows(4)
    assert waiting(tmp_path / "outbox") == 4
    box.deliver(box.rows()[1])
    assert (box.rows(), waiting(tmp_path / "outbox")) == (([], 0), 0)
    assert box.append(rows(5))
    assert box.rows()[0] == rows(5)
    assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o700
    assert box.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_more_rows_than_fit_a_request_come_in_portions(tmp_path: Path) -> None:
    box = new_file(tmp_path)
    numbers = list(range(50_000))
    assert box.append(rows(*numbers))
    seen: list[int] = []
    while portion := box.rows()[0]:
        assert len(portion) < 25_000
        seen += [row["number"] for row in portion]
        box.deliver(box.rows()[1])
    assert seen == numbers


def test_beyond_the_limit_nothing_of_a_batch_is_kept(tmp_path: Path) -> None:
    box = new_file(tmp_path, limit_bytes=40)
    assert box.append(rows(1, 2))
    assert not box.append(rows(3, 4))
    assert box.rows()[0] == rows(1, 2)
    box.deliver(box.rows()[1])
    assert box.append(rows(3, 4))


def test_a_disk_that_is_full_keeps_the_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_file(tmp_path)
    box.append(rows(1))
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
        assert not box.append(rows(2))

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "write", full)
        assert not box.append(rows(3))
    assert box.append(rows(4))
    assert box.rows()[0] == rows(1, 4)


def test_only_the_file_of_a_worker_that_has_ended_is_taken(tmp_path: Path) -> None:
    alive, dead, empty = new_file(tmp_path), new_file(tmp_path), new_file(tmp_path)
    dead.append(rows(1, 2))
    # as by a kill
    (cut := json.dumps({"number": 3})[:-3].encode(), os.write(dead._descriptor, cut))
    dead.close()
    empty.close()
    taken = list(left_behind(tmp_path))
    assert {file.path for file in taken} == {dead.path, empty.path}
    assert list(left_behind(tmp_path)) == []  # they are locked now
    (full,) = (file for file in taken if file.path == dead.path)
    read, size_bytes = full.rows()
    assert read == rows(1, 2)
    full.deliver(size_bytes)
    assert (full.rows()[0], full.rows()[1]) == ([], len(cut))
    full.deliver(len(cut))
    for file in taken:
        file.remove()
    assert list(tmp_path.iterdir()) == [alive.path]
