"""The store: versions that appear whole or not at all, their list, and samples beside them."""

import io
import json
import os
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from model_store.bundle.bundle import CARD_FILE, MODEL_FILE
from model_store.errors import (
    AliasError,
    BundleError,
    CardError,
    FileError,
    HistoryError,
    InvalidName,
    ManifestError,
    NotInStore,
    SamplesInvalid,
)
from model_store.store.catalog import catalog
from model_store.store.samples import (
    LARGEST_BYTES,
    MOST,
    SAMPLES_FILE,
    Sample,
    read_samples,
    write_samples,
)
from model_store.store.storage import LocalStorage
from model_store.store.store import Store, open_store
from model_store.store.verification import verify
from tests.builders.bundles import build_bundle
from tests.builders.findings import publish_findings

RECORDS = (".lock", "history.jsonl")


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere")
    with pytest.raises(NotInStore):
        store.read("tiny")
    assert store.models() == []
    assert store.versions("tiny") == []
    assert store.production("tiny") is None
    assert not (tmp_path / "nowhere").exists()


def test_versions_count_up_and_are_read_whole(tiny_store: Store) -> None:
    assert tiny_store.publish("tiny", partial(build_bundle, seed=1)) == 2
    assert tiny_store.publish("tiny", partial(build_bundle, seed=2)) == 3
    assert tiny_store.versions("tiny") == [1, 2, 3]
    assert tiny_store.models() == ["tiny"]
    assert [tiny_store.read("tiny", version).card.version for version in (1, 2, 3)] == [1, 2, 3]
    assert tiny_store.read("tiny", 2).folder == tiny_store.folder("tiny", 2)
    assert tiny_store.folder("tiny", 2).stat().st_mode & 0o777 == 0o755
    build_bundle(tiny_store.folder("tiny", 10), 10)
    assert tiny_store.versions("tiny") == [1, 2, 3, 10]
    assert tiny_store.publish("tiny", build_bundle) == 11


def test_models_are_kept_apart_and_strays_ignored(tiny_store: Store) -> None:
    tiny_store.publish("Other.one", partial(build_bundle, name="Other.one"))
    (tiny_store.root / ".cache").mkdir()
    (tiny_store.root / "empty").mkdir()
    (tiny_store.root / "README.md").write_text("a file")
    (tiny_store.root / "tiny" / "notes").mkdir()
    assert tiny_store.models() == ["Other.one", "tiny"]
    assert tiny_store.versions("tiny") == tiny_store.versions("Other.one") == [1]


def _half(folder: Path, version: int) -> None:
    build_bundle(folder, version)
    (folder / MODEL_FILE).write_bytes(b"half")


def _fail(folder: Path, version: int) -> None:
    build_bundle(folder, version)
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda *_: None, BundleError),
        (_half, BundleError),
        (partial(build_bundle, name="another"), BundleError),
        (lambda folder, version: build_bundle(folder, version + 5), BundleError),
        (_fail, RuntimeError),
    ],
)
def test_a_build_that_is_unsound_or_raises_leaves_nothing(
    tiny_store: Store, build: Any, error: type[Exception]
) -> None:
    before = sorted(tiny_store.root.rglob("*"))
    with pytest.raises(error):
        tiny_store.publish("tiny", build)
    assert sorted(tiny_store.root.rglob("*")) == before


@pytest.mark.slow
def test_publishers_at_the_same_time_get_versions_of_their_own(tmp_path: Path) -> None:
    store, barrier = Store(tmp_path), threading.Barrier(4)

    def publish(seed: int) -> list[int]:
        barrier.wait()
        return [store.publish("tiny", partial(build_bundle, seed=seed)) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        versions = [version for own in pool.map(publish, range(4)) for version in own]
    assert sorted(versions) == store.versions("tiny") == list(range(1, 17))
    assert all(store.read("tiny", version).card.version == version for version in versions)
    assert {path.name for path in (tmp_path / "tiny").iterdir()} == {*map(str, versions), *RECORDS}


def test_a_number_taken_meanwhile_is_not_overwritten(tiny_store: Store) -> None:
    asked: list[int] = []

    def slow(folder: Path, version: int) -> None:
        asked.append(version)
        if version == 2:
            build_bundle(tiny_store.folder("tiny", 2), 2, seed=5)  # another process was faster
        build_bundle(folder, version, seed=6)

    assert tiny_store.publish("tiny", slow) == 3
    assert asked == [2, 3]
    assert tiny_store.read("tiny", 2).card.provenance.seed == 5
    assert tiny_store.read("tiny", 3).card.provenance.seed == 6


def test_a_disk_that_refuses_the_move_is_reported_and_leaves_nothing(
    tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    before = sorted(tiny_store.root.rglob("*"))
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        tiny_store.publish("tiny", build_bundle)
    assert sorted(tiny_store.root.rglob("*")) == before


def test_promoting_moves_the_alias(tiny_store: Store) -> None:
    tiny_store.publish("tiny", build_bundle)
    assert tiny_store.production("tiny") == 1
    assert tiny_store.read("tiny").card.version == 1
    tiny_store.promote("tiny", 2)
    assert tiny_store.production("tiny") == 2
    assert tiny_store.read("tiny").card.version == 2
    history = tiny_store.root / "tiny" / "history.jsonl"
    said = json.loads(history.read_text().splitlines()[-1])
    assert (said["version"], said["digest"]) == (2, tiny_store.read("tiny", 2).digest)
    assert history.stat().st_mode & 0o777 == 0o644


def test_promoting_what_is_not_there_or_not_sound_leaves_the_alias(tiny_store: Store) -> None:
    tiny_store.publish("tiny", build_bundle)
    (tiny_store.folder("tiny", 2) / MODEL_FILE).write_bytes(b"")
    with pytest.raises(FileError, match="sha256"):
        tiny_store.promote("tiny", 2)
    with pytest.raises(NotInStore, match="versions 1, 2"):
        tiny_store.promote("tiny", 9)
    with pytest.raises(NotInStore, match="tiny"):
        tiny_store.promote("other", 1)
    build_bundle(tiny_store.folder("tiny", 2), 3)
    for act in (tiny_store.read, tiny_store.promote):
        with pytest.raises(CardError, match="tiny/3"):
            act("tiny", 2)
    assert tiny_store.production("tiny") == 1
    names = {path.name for path in (tiny_store.root / "tiny").iterdir()}
    assert names == {"1", "2", *RECORDS}


@pytest.mark.parametrize(
    "text",
    ["", "soon", "1.5", "../..", "-1", "é", "{}", "[" * 100_000, "\0", "9" * 5000, "null"],
)
def test_a_history_that_is_none_is_refused_by_name(tiny_store: Store, text: str) -> None:
    (tiny_store.root / "tiny" / "history.jsonl").write_text(f"{text}\n", encoding="utf-8")
    for act in (
        lambda: tiny_store.production("tiny"),
        lambda: tiny_store.read("tiny"),
        lambda: tiny_store.read("tiny", 1),
        lambda: tiny_store.promote("tiny", 1),
    ):
        with pytest.raises(HistoryError, match="line 1 of the history of 'tiny'"):
            act()
    assert tiny_store.versions("tiny") == [1]


@pytest.mark.parametrize(
    "change",
    [
        *({"version": wrong} for wrong in (2.0, "1", True, 0, 10**9)),
        *({"digest": "sha256:0"}, {"more": 1}, {"at": "x"}, {"alias": "../x"}),
        *({missing: None} for missing in ("version", "digest", "alias")),
    ],
)
def test_an_event_with_a_wrong_field_is_refused(
    tiny_store: Store, change: dict[str, object]
) -> None:
    path = tiny_store.root / "tiny" / "history.jsonl"
    *before, last = path.read_text().splitlines()
    said = {name: value for name, value in (json.loads(last) | change).items() if value is not None}
    path.write_text("\n".join([*before, json.dumps(said)]) + "\n")
    with pytest.raises(HistoryError, match=f"somebody changed it .*{next(iter(change))}"):
        tiny_store.production("tiny")


def test_a_history_that_is_no_plain_file_is_refused(tiny_store: Store) -> None:
    path = tiny_store.root / "tiny" / "history.jsonl"
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    with pytest.raises(HistoryError, match="symbolic link"):
        tiny_store.production("tiny")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(HistoryError, match="plain file"):
        tiny_store.production("tiny")


def test_a_number_is_never_used_again(tiny_store: Store) -> None:
    shutil.rmtree(tiny_store.folder("tiny", 1))
    assert tiny_store.publish("tiny", build_bundle) == 2
    with pytest.raises(NotInStore, match="no version 1"):
        tiny_store.read("tiny")


def test_a_bundle_that_was_replaced_whole_is_refused(tiny_store: Store) -> None:
    """Its manifest fits its files, but not the digest in the alias."""
    build_bundle(tiny_store.folder("tiny", 1), seed=5)
    for act in (
        lambda: tiny_store.read("tiny"),
        lambda: tiny_store.read("tiny", 1),
        lambda: tiny_store.promote("tiny", 1),
    ):
        with pytest.raises(ManifestError, match=r"the history \(published\) names sha256:"):
            act()


def test_who_and_why_stand_in_the_alias(tiny_store: Store) -> None:
    assert tiny_store.alias("tiny", "production").by
    tiny_store.set_alias("tiny", "staging", 1, by="ann", why="for the new scanner")
    alias = tiny_store.alias("tiny", "staging")
    assert (alias.version, alias.by, alias.why) == (1, "ann", "for the new scanner")
    assert list(tiny_store.aliases("tiny")) == ["production", "staging"]
    with pytest.raises(HistoryError, match="why: "):
        tiny_store.set_alias("tiny", "staging", 1, why="x" * 1001)


@pytest.mark.parametrize(
    "alias", ["", "1", "Prod", "a/b", "..", "canary.json", "x" * 33, "a\n", "über"]
)
def test_names_that_are_no_aliases_are_refused(tiny_store: Store, alias: str) -> None:
    for act in (
        lambda: tiny_store.alias("tiny", alias),
        lambda: tiny_store.set_alias("tiny", alias, 1),
    ):
        with pytest.raises(AliasError, match="not a name for an alias"):
            act()


@pytest.mark.parametrize("stray", ["01", "2.0", "-1", "+2", "٣", "²", "1e3", " 2", "9" * 10])
def test_a_folder_that_is_no_version_is_none(tiny_store: Store, stray: str) -> None:
    build_bundle(tiny_store.model("tiny") / stray)
    assert tiny_store.versions("tiny") == [1]
    assert tiny_store.publish("tiny", build_bundle) == 2


def test_links_out_of_the_store_are_refused(tiny_store: Store, tmp_path: Path) -> None:
    outside = build_bundle(tmp_path / "outside" / "tiny" / "2", 2)
    tiny_store.folder("tiny", 2).symlink_to(outside.folder)
    (tiny_store.root / "other").symlink_to(outside.folder.parent)
    for name in ("tiny", "other"):
        for act in (tiny_store.read, tiny_store.promote):
            with pytest.raises(FileError, match="is a symbolic link"):
                act(name, 2)
    assert tiny_store.publish("tiny", build_bundle) == 3


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc", "tiny\n", "-x", "x" * 65, "tiny model", "t\u00efny"],
)
def test_names_that_are_no_folder_names_are_refused(tiny_store: Store, name: str) -> None:
    for act in (
        lambda: tiny_store.versions(name),
        lambda: tiny_store.read(name, 1),
        lambda: tiny_store.production(name),
        lambda: tiny_store.promote(name, 1),
        lambda: tiny_store.publish(name, build_bundle),
    ):
        with pytest.raises(InvalidName, match="not a model name"):
            act()


def test_a_file_is_no_store(tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    file.write_text("x")
    with pytest.raises(NotInStore, match="is a file"):
        open_store(file, cache=tmp_path)


def test_each_version_is_listed_with_its_cards_figures(tiny_store: Store) -> None:
    tiny_store.publish("tiny", partial(build_bundle, temperature=2.0))
    tiny_store.publish("other", partial(build_bundle, name="other"))
    entries = catalog(tiny_store)
    assert [(entry.name, entry.version, entry.production) for entry in entries] == [
        ("other", 1, False),
        ("tiny", 1, True),
        ("tiny", 2, False),
    ]
    assert [entry.temperature for entry in entries] == [1.5, 1.5, 2.0]
    first, measures = entries[1], tiny_store.read("tiny").card.calibration.measures
    assert (first.dataset, first.loss, first.reference) == ("generated", "ce", "val")
    assert first.created_at == "2026-01-01T00:00:00+00:00"
    assert (first.accuracy, first.ece, first.noise_floor) == tuple(
        measures[key] for key in ("accuracy", "ece", "noise_floor")
    )
    assert first.problem is None


def test_the_share_present_of_findings_is_not_listed_as_accuracy(tmp_path: Path) -> None:
    store = publish_findings(tmp_path)
    (entry,) = catalog(store)
    assert entry.ece is not None
    assert (entry.accuracy, entry.temperature) == (None, None)


def test_a_card_that_cannot_be_read_is_listed_with_the_reason(tiny_store: Store) -> None:
    tiny_store.publish("tiny", build_bundle)
    (tiny_store.folder("tiny", 1) / CARD_FILE).unlink()
    (tiny_store.folder("tiny", 2) / CARD_FILE).write_text("{}")
    missing, empty = catalog(tiny_store)
    assert missing.problem
    assert missing.production
    assert empty.problem
    assert empty.ece is None


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
