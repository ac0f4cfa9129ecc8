"""Sample images beside a model: bounded, plainly named, and refused where the file is odd."""

import io
import zipfile
from pathlib import Path

import pytest

from model_store.errors import SamplesInvalid
from model_store.store.samples import (
    LARGEST_BYTES,
    MOST,
    SAMPLES_FILE,
    Sample,
    read_samples,
    write_samples,
)
from model_store.store.storage import LocalStorage
from model_store.store.store import Store
from model_store.store.verification import verify

ONE = Sample("scan 1.png", b"png")


def packed(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def test_what_is_written_is_read_by_name_and_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    storage = LocalStorage(tmp_path)
    assert read_samples(storage, "tiny") == []
    write_samples(storage, "tiny", [Sample("b", b"2"), Sample("a", b"1")])
    assert read_samples(storage, "tiny") == [Sample("a", b"1"), Sample("b", b"2")]
    write_samples(storage, "tiny", [ONE])
    assert read_samples(storage, "tiny") == [ONE]
    write_samples(storage, "tiny", [])
    assert read_samples(storage, "tiny") == []


@pytest.mark.parametrize(
    "samples",
    [
        [Sample(f"{number}", b"") for number in range(MOST + 1)],
        [Sample("large", bytes(LARGEST_BYTES + 1))],
        [ONE, ONE],
        [Sample("", b"")],
        [Sample("../x", b"")],
        [Sample("a\nb", b"")],
        [Sample("n" * 101, b"")],
    ],
)
def test_odd_samples_are_refused_and_nothing_is_written(
    tmp_path: Path, samples: list[Sample]
) -> None:
    with pytest.raises(SamplesInvalid, match="tiny"):
        write_samples(LocalStorage(tmp_path), "tiny", samples)
    assert list(tmp_path.rglob("*.zip")) == []


@pytest.mark.parametrize(
    "data",
    [
        b"none",
        b"",
        packed(a=b"1")[:-30],
        packed(**{"../x": b"1"}),
        packed(bomb=bytes(LARGEST_BYTES + 1)),
    ],
    ids=["text", "empty", "cut off", "outside", "bomb"],  # the archives hold the time of day
)
def test_a_file_that_is_no_such_archive_is_refused(tiny_store: Store, data: bytes) -> None:
    (tiny_store.root / "tiny" / SAMPLES_FILE).write_bytes(data)
    with pytest.raises(SamplesInvalid, match="tiny"):
        read_samples(tiny_store.storage, "tiny")
    problems = [each.item for each in verify(tiny_store) if each.problem]
    assert problems == [SAMPLES_FILE]
    write_samples(tiny_store.storage, "tiny", [ONE])
    assert [each for each in verify(tiny_store) if each.problem] == []
