"""The manifest: no bit of a bundle changes, no file comes or goes, without a refusal."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.bundle.bundle import CARD_FILE, MODEL_FILE, read_bundle
from model_store.bundle.manifest import (
    MANIFEST_FILE,
    FileEntry,
    digest_of,
    read_manifest,
    write_manifest,
)
from model_store.errors import BundleError, FileError, ManifestError
from tests.builders.bundles import build_bundle

FILES = (CARD_FILE, MANIFEST_FILE, MODEL_FILE, "tiny.mar")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_bundle(tmp_path / "tiny" / "1").folder


def test_it_names_every_other_file_with_size_and_hash(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.version) == ("tiny", 1)
    assert sorted(manifest.files) == [
        CARD_FILE,
        MODEL_FILE,
        "model_card.md",
        "probes.json",
        "reliability.svg",
        "tiny.mar",
    ]
    assert all(
        manifest.files[name] == FileEntry.of((folder / name).read_bytes())
        for name in manifest.files
    )
    assert (
        read_bundle(folder).digest
        == manifest.digest
        == digest_of((folder / MANIFEST_FILE).read_bytes())
        == read_bundle(folder, digest=manifest.digest).digest
    )
    with pytest.raises(ManifestError, match=f"its digest is {manifest.digest}"):
        read_bundle(folder, digest=digest_of(b""))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = build_bundle(tmp_path_factory.mktemp("sound") / "tiny" / "1").folder
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def damaged(
    tmp_path_factory: pytest.TempPathFactory, sound: dict[str, bytes]
) -> Callable[[str, bytes], Path]:
    """A bundle in which one file holds something else."""
    folder = tmp_path_factory.mktemp("damaged") / "tiny" / "1"
    folder.mkdir(parents=True)

    def write(name: str, data: bytes) -> Path:
        for each in FILES:
            (folder / each).write_bytes(data if each == name else sound[each])
        return folder

    return write


@pytest.mark.slow
@given(data=st.data(), name=st.sampled_from(FILES))
@settings(max_examples=100)
def test_every_change_of_bits_or_length_is_refused(
    data: st.DataObject, name: str, sound: dict[str, bytes], damaged: Callable[[str, bytes], Path]
) -> None:
    changed = bytearray(sound[name])
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    length = data.draw(st.integers(0, len(changed) - 1))
    for each in (bytes(changed), sound[name][:length], sound[name] + b"\0"):
        with pytest.raises(BundleError, match=r"bundle tiny/1 is refused"):
            read_bundle(damaged(name, each))


def test_a_file_that_it_does_not_name_is_refused_unless_hidden(folder: Path) -> None:
    (folder / ".nfs0001").write_bytes(b"")
    read_bundle(folder)
    (folder / "model.onnx.data").write_bytes(b"weights")
    with pytest.raises(FileError, match=r"model\.onnx\.data"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"format_version": 2}', "é"]
)
def test_what_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        read_bundle(folder)


def test_a_huge_manifest_is_not_read(folder: Path) -> None:
    with (folder / MANIFEST_FILE).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ManifestError, match="1,099,511,627,776 bytes"):
        read_bundle(folder)


def test_another_spelling_or_version_is_refused(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(ManifestError, match="spelled"):
        read_bundle(folder)
    write_manifest(folder, name="tiny", version=2)
    with pytest.raises(BundleError, match="tiny/2"):
        read_bundle(folder)


def test_a_manifest_without_card_or_model_is_refused(folder: Path) -> None:
    for name in (MODEL_FILE, CARD_FILE):
        (folder / name).rename(folder.parent / name)
        write_manifest(folder, name="tiny", version=1)
        with pytest.raises(FileError, match=f"lists no {name}"):
            read_bundle(folder)
        (folder.parent / name).rename(folder / name)
