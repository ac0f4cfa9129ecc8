"""The memory in which an image reaches its decoding process: real memory, mapped twice as the
process maps it.
"""

import os
from pathlib import Path

import pytest

from serving.decoding.shared_body import SIZE_BYTES, open_shared, shared_body

FILES = Path("/proc/self/fd")


def test_the_other_side_reads_what_was_written_last() -> None:
    with shared_body() as shared:
        assert shared is not None
        body, file = shared
        theirs = open_shared(file)
    for data in (b"a longer image", b"short"):
        assert body.write(data)
        assert theirs[: len(data)] == data
    body.close()
    body.close()  # a process is ended twice where two threads find it dead
    assert theirs[:5] == b"short"


def test_what_is_too_large_is_not_written() -> None:
    with shared_body() as shared:
        assert shared is not None
        assert shared[0].write(bytes(SIZE_BYTES))
        assert not shared[0].write(bytes(SIZE_BYTES + 1))


def test_the_other_side_can_neither_cut_it_off_nor_let_it_grow() -> None:
    with shared_body() as shared:
        assert shared is not None
        for size in (0, SIZE_BYTES * 2):
            with pytest.raises(PermissionError):
                os.ftruncate(shared[1], size)
        with pytest.raises(TypeError):
            open_shared(shared[1])[0] = 1


def test_a_system_without_such_memory_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "memfd_create", refused)
    with shared_body() as shared:
        assert shared is None


def test_no_file_stays_open() -> None:
    before = len([*FILES.iterdir()])
    for _ in range(3):
        with shared_body() as shared:
            assert shared is not None
            shared[0].close()
    assert len([*FILES.iterdir()]) == before
