"""Memory shared with a decoding process: real, and mapped twice."""

import os
from pathlib import Path

import pytest

from serving.decoding.channel import FIRST_BYTES, SharedMemory, shared_file

FILES = Path("/proc/self/fd")


def both_sides() -> tuple[SharedMemory, SharedMemory]:
    file = shared_file()
    return SharedMemory(file), SharedMemory(os.dup(file))


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


def test_no_file_stays_open() -> None:
    before = len([*FILES.iterdir()])
    for _ in range(3):
        SharedMemory(shared_file()).close()
    assert len([*FILES.iterdir()]) == before
