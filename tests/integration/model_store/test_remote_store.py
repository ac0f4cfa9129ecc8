"""The same store at an address: on a real S3 server on this machine, and in fsspec's memory."""

import json
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from model_store.errors import (
    BundleError,
    FileError,
    ManifestError,
    NotInStore,
    StoreAddressInvalid,
    StoreUnreachable,
    VersionRetired,
)
from model_store.store import changes, remote_storage
from model_store.store.canary import read_canary, start_canary
from model_store.store.store import Store, open_store
from model_store.store.verification import verify
from tests.builders.bundles import build_bundle
from tests.builders.object_store import ObjectStore, object_store
from tests.builders.processes import candor_here


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectStore]:
    with object_store() as server:
        yield server


@pytest.fixture
def reach(s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The server, with what leads to it in the environment."""
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture(params=["s3", "memory"])
def store(request: pytest.FixtureRequest, reach: ObjectStore, tmp_path: Path) -> Store:
    """An empty store at an address of its own."""
    place = f"{tmp_path.name}-{random.randrange(10**9)}"
    return open_store(f"{request.param}://{reach.bucket}/{place}", cache=tmp_path / "cache")


@pytest.fixture
def on_s3(reach: ObjectStore, tmp_path: Path) -> Store:
    """A store on S3 with version 1 of "tiny" in production."""
    address = f"s3://{reach.bucket}/{tmp_path.name}-{random.randrange(10**9)}"
    store = open_store(address, cache=tmp_path / "cache")
    store.publish("tiny", build_bundle)
    store.promote("tiny", 1)
    return store


def again(store: Store, cache: Path | None = None) -> Store:
    """The same store as another process sees it."""
    return Store(cache or store.root, store.address)


def client(reach: ObjectStore) -> Any:
    return boto3.client("s3", endpoint_url=reach.variables["AWS_ENDPOINT_URL"])


def key(store: Store, name: str) -> str:
    return f"{str(store.address).split('/', 3)[3]}/tiny/{name}"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("s3://", "names no place"),
        ("nonsense://bucket/x", "no store can be at"),
        ("s3://key:secret@bucket/x", "no user or password"),
        ("https://bucket.example/x?sig=secret", "can neither list nor write"),
    ],
)
def test_an_address_that_is_none_is_refused_and_tells_no_secret(
    tmp_path: Path, address: str, reason: str
) -> None:
    assert open_store(f"file://{tmp_path}/a", cache=tmp_path) == Store(tmp_path / "a")
    with pytest.raises(StoreAddressInvalid, match=reason) as refused:
        open_store(address, cache=tmp_path).models()
    assert "secret" not in str(refused.value)


def test_it_does_what_a_folder_does(store: Store) -> None:
    assert store.models() == []
    with pytest.raises(NotInStore):
        store.read("tiny")
    for seed in range(4):
        assert store.publish("tiny", partial(build_bundle, seed=seed)) == seed + 1
    for version in (1, 3, 4):
        store.promote("tiny", version, by="ann")
    other = again(store)
    assert (other.models(), other.versions("tiny")) == (["tiny"], [1, 2, 3, 4])
    assert other.production("tiny") == 4
    assert other.read("tiny").card.provenance.seed == 3
    assert changes.roll_back(other, "tiny").version == 3
    start_canary(other, "tiny", 4, mode="shadow")
    assert read_canary(again(store), "tiny") == read_canary(other, "tiny")
    changes.retire(other, "tiny", 2)
    with pytest.raises(VersionRetired):
        other.promote("tiny", 2)
    (removal,) = changes.removable(other, "tiny", answering=(), keep=1)
    changes.collect(other, removal)
    assert again(store).versions("tiny") == [1, 3, 4]
    actions = [event.action for event in other.state("tiny").events]
    assert actions[-4:] == ["rolled back", "canary started", "retired", "collected"]
    other.set_alias("tiny", "staging", 1)
    other.remove_alias("tiny", "staging")
    assert list(other.aliases("tiny")) == ["production"]
    assert [finding for finding in verify(again(store)) if finding.problem] == []


def test_a_swap_of_what_has_changed_does_nothing(store: Store) -> None:
    store.publish("tiny", build_bundle)
    one, two = store.storage, again(store).storage
    assert one.swap("tiny", "x.json", None, b"1")
    assert not two.swap("tiny", "x.json", None, b"2")
    assert not two.swap("tiny", "x.json", b"0", b"2")
    assert two.swap("tiny", "x.json", b"1", b"2")
    assert two.read("tiny", "x.json") == b"2"


def test_what_was_changed_in_the_bucket_is_refused(
    on_s3: Store, reach: ObjectStore, tmp_path: Path
) -> None:
    other = build_bundle(tmp_path / "other", 1, seed=5).folder
    put = partial(client(reach).put_object, Bucket=reach.bucket)
    put(Key=key(on_s3, "1/model.onnx.data"), Body=b"weights")
    with pytest.raises(FileError, match=r"model\.onnx\.data"):
        again(on_s3, tmp_path / "new").read("tiny")
    client(reach).delete_object(Bucket=reach.bucket, Key=key(on_s3, "1/model.onnx.data"))
    put(Key=key(on_s3, "1/card.json"), Body=(other / "card.json").read_bytes())
    with pytest.raises(FileError, match=r"card\.json"):
        again(on_s3, tmp_path / "new").read("tiny")
    for path in other.iterdir():
        put(Key=key(on_s3, f"1/{path.name}"), Body=path.read_bytes())
    with pytest.raises(ManifestError, match="history"):
        again(on_s3, tmp_path / "new").read("tiny")


def test_half_of_a_version_is_none_and_its_number_is_not_taken_again(
    on_s3: Store, reach: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a publisher leaves it that was killed before it wrote the manifest."""
    for name in (".claim", "model.onnx"):
        client(reach).put_object(Bucket=reach.bucket, Key=key(on_s3, f"2/{name}"), Body=b"")
    assert again(on_s3).versions("tiny") == [1]
    assert again(on_s3).publish("tiny", build_bundle) == 3
    monkeypatch.setattr(changes, "LEFTOVER_S", -10.0)
    found = changes.removable(again(on_s3), "tiny", answering=())
    assert [each.name for each in found] == ["2"]
    changes.collect(again(on_s3), found[0])
    entries = again(on_s3).storage.entries("tiny")
    assert [entry.name for entry in entries if entry.is_folder] == ["1", "3"]


def test_a_copy_is_read_again_unless_it_is_damaged(on_s3: Store, reach: ObjectStore) -> None:
    model = on_s3.read("tiny").folder / "model.onnx"
    content, written = model.read_bytes(), model.stat().st_mtime_ns
    assert again(on_s3).read("tiny").folder == model.parent
    assert model.stat().st_mtime_ns == written
    model.write_bytes(b"flipped")
    assert again(on_s3).read("tiny").card.version == 1
    assert model.read_bytes() == content


def written_ns(store: Store) -> int:
    """When the copy of version 1 was made."""
    return (again(store).read("tiny", 1).folder / "model.onnx").stat().st_mtime_ns


def test_no_process_removes_a_copy_that_another_reads(
    on_s3: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process fetches between the look for a copy and the download of one."""
    look, made_ns = remote_storage._is_whole, list[int]()

    def looked(folder: Path) -> bool:
        found = look(folder)
        if not made_ns:
            made_ns.append(0)
            made_ns.append(written_ns(on_s3))
        return found

    shutil.rmtree(on_s3.root / "bundles")
    monkeypatch.setattr(remote_storage, "_is_whole", looked)
    assert on_s3.read("tiny").card.version == 1
    assert written_ns(on_s3) == made_ns[1]


def test_the_copies_that_were_used_last_are_kept(
    on_s3: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_storage, "KEPT_COPIES", 3)
    made_ns = set[int]()
    for seed in range(1, remote_storage.KEPT_COPIES + 2):
        on_s3.publish("tiny", partial(build_bundle, seed=seed))
        again(on_s3).read("tiny", seed + 1)
        made_ns.add(written_ns(on_s3))
    assert len(made_ns) == 1
    copies = on_s3.root.glob("bundles/*/tiny/[!.]*")
    assert len([*copies]) == remote_storage.KEPT_COPIES


def test_it_is_read_while_it_is_away_but_not_written(tmp_path: Path) -> None:
    with object_store() as server, pytest.MonkeyPatch.context() as patch:
        variables = dict(server.variables)
        for name, value in variables.items():
            patch.setenv(name, value)
        store = open_store(f"s3://{server.bucket}/models", cache=tmp_path / "cache")
        for seed in range(2):
            store.publish("tiny", partial(build_bundle, seed=seed))
        store.promote("tiny", 2)
        digest = store.read("tiny").digest
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        away = again(store)
        assert (away.models(), away.production("tiny")) == (["tiny"], 2)
        assert away.read("tiny").digest == digest
        with pytest.raises((StoreUnreachable, NotInStore)):
            away.promote("tiny", 1)
        with pytest.raises(StoreUnreachable, match="cannot be used now"):
            again(store, tmp_path / "empty").models()
        damaged = away.read("tiny").folder / "model.onnx"
        damaged.write_bytes(b"flipped")
        with pytest.raises(BundleError):
            away.read("tiny")


def test_the_command_line_takes_an_address(on_s3: Store, tmp_path: Path) -> None:
    def run(*words: object) -> Any:
        return candor_here(*words, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})

    listed = run("models", "list", "--store", on_s3.address, "--json")
    assert [entry["version"] for entry in json.loads(listed.stdout)] == [1]
    assert run("models", "verify", "--store", on_s3.address, "--ledger", "off").exit_code == 0
    missing = run("models", "--store", f"{on_s3.address}-other")
    assert isinstance(missing.exception, NotInStore)
