"""A store that real processes mistreat: they write at once, are killed with -9, and run out of
room, at any operation, in a folder and on S3.

Afterwards everything verifies: each version is whole or not there, each alias names a bundle that
is not retired, each event follows the one before and saw it.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from model_store.store.store import Store
from tests.builders.bundles import build_bundle
from tests.builders.object_store import ObjectStore, object_store
from tests.builders.store_fire import DIED, KILLS, READERS, SURVIVED, WRITERS

pytestmark = pytest.mark.nightly

REFUSED = 2


def mistreated(root: Path, mode: str, server: ObjectStore | None = None) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.builders.store_fire", str(root), mode]
    command += [f"s3://{server.bucket}/{mode}"] if server else []
    env = os.environ | (server.variables if server else {})
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["problems"] == []
    return found


def test_eight_writers_and_sixty_kills(tmp_path: Path) -> None:
    found = mistreated(tmp_path / "store", "storm")
    assert found["killed"] == KILLS + WRITERS + READERS
    assert found["versions"] > 8
    assert found["events"] > 2 * found["versions"]


def test_a_writer_that_dies_before_any_of_its_operations(tmp_path: Path) -> None:
    found = mistreated(tmp_path / "store", "crash")
    assert len(found["outcomes"]) > 20
    assert set(found["outcomes"][:-1]) == {DIED}
    assert found["outcomes"][-1] == 0


def test_the_same_on_s3(tmp_path: Path) -> None:
    with object_store() as server:
        found = mistreated(tmp_path / "cache", "storm", server)
        assert found["killed"] == KILLS + WRITERS + READERS
        assert found["events"] > found["versions"] > 3
        found = mistreated(tmp_path / "cache", "crash", server)
    assert len(found["outcomes"]) > 40
    assert set(found["outcomes"][:-1]) == {DIED}
    assert found["outcomes"][-1] == 0


def test_a_disk_that_is_full_at_any_operation(tmp_path: Path) -> None:
    found = mistreated(tmp_path / "store", "error")
    assert len(found["outcomes"]) > 20
    assert set(found["outcomes"][:-1]) <= {REFUSED, SURVIVED}
    assert found["outcomes"].count(REFUSED) > 20


def test_a_disk_that_takes_no_more_bytes(tmp_path: Path) -> None:
    found = mistreated(tmp_path / "store", "small")
    assert found["outcomes"][0] == REFUSED
    assert found["outcomes"][-1] == 0
    assert set(found["outcomes"]) == {0, REFUSED}


def test_what_is_published_is_durable_before_it_is_visible(
    tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file and its folder before the rename, and after it the folder above."""
    done: list[tuple[str, str]] = []
    sync, rename, replace = os.fsync, Path.rename, Path.replace

    def note_sync(descriptor: int) -> None:
        done.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        sync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        done.append(("rename", str(target)))
        return rename(path, target)

    def note_replace(path: Path, target: Path) -> Path:
        done.append(("replace", str(target)))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    monkeypatch.setattr(Path, "replace", note_replace)
    tiny_store.publish("tiny", partial(build_bundle, seed=1))
    model = str(tiny_store.model("tiny"))
    settled = done.index(("rename", f"{model}/2"))
    before = [Path(path) for what, path in done[:settled] if what == "sync"]
    assert {path.name for path in before} >= {
        "card.json",
        "manifest.json",
        "model.onnx",
        "tiny.mar",
    }
    assert before[-1].name.startswith(".draft-")
    assert ("sync", model) in done[settled:]
    assert ("sync", str(tiny_store.root)) in done[settled:]
    done.clear()
    tiny_store.promote("tiny", 2)
    moved = done.index(("replace", f"{model}/history.jsonl"))
    assert Path(done[moved - 1][1]).name.startswith(".part-")
    assert ("sync", model) in done[moved:]
