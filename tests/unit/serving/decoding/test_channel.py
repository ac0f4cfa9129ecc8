"""Memory shared with a decoding process: real, and mapped twice."""

import os
from pathlib import Path

import pytest

from serving.decoding.channel import FIRST_BYTES, KEPT_BYTES, SharedMemory, shared_file

FILES = Path("/proc/self/fd")


def both_sides() -> tuple[SharedMemory, SharedMemory]:
    file = shared_file()
    return SharedMemory(file), SharedMemory(os.dup(file))


def test_each_side_reads_what_the_other_wrote_last() -> None:
    ours, theirs = both_sides()
    for data in (b"a longer image", b"short", memoryview(b"a view")):
        ours.write(data)
        assert theirs.read(len(data)) == data
    theirs.write(b"pixels")
    assert ours.read(6) == b"pixels"
    ours.close()
    ours.close()
    assert theirs.read(6) == b"pixels"
    theirs.close()


def test_it_grows_for_a_large_image_and_is_given_back() -> None:
    ours, theirs = both_sides()
    large = bytes(range(256)) * (KEPT_BYTES // 128)
    ours.grow(len(large))
    ours.write(large)
    theirs.reach(len(ours))
    assert theirs.read(len(large)) == large
    ours.trim()
    assert os.fstat(ours.file).st_blocks * 512 == KEPT_BYTES
    assert theirs.read(KEPT_BYTES) == large[:KEPT_BYTES]
    ours.close()
    theirs.close()


def test_the_other_side_cannot_cut_it_off() -> None:
    ours, theirs = both_sides()
    with pytest.raises(PermissionError):
        os.ftruncate(theirs.file, 0)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("size_bytes", [-1, FIRST_BYTES + 1])
def test_no_more_is_read_than_there_is(size_bytes: int) -> None:
    memory = SharedMemory(shared_file())
    with pytest.raises(ValueError, match="bytes"):
        memory.read(size_bytes)
    memory.close()


def test_where_there_is_no_such_memory_it_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_store.kernel.ENFORCES", False)
    ours, theirs = both_sides()
    ours.grow(2 * KEPT_BYTES)
    ours.write(b"image")
    ours.trim()
    assert theirs.read(5) == b"image"
    ours.close()
    theirs.close()


def test_no_file_stays_open() -> None:
    before = len([*FILES.iterdir()])
    for _ in range(3):
        SharedMemory(shared_file()).close()
    assert len([*FILES.iterdir()]) == before
