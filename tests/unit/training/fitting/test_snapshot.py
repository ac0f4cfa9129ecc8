"""A snapshot: exact, without pickle, whole or refused. That fits resume is tests/integration's."""

import json
from pathlib import Path

import pytest
import torch

from training.errors import BadRun
from training.fitting.snapshot import Snapshot, SnapshotFile, parse
from training.processes.distributed import Group


def test_a_snapshot_reads_back_exactly_and_holds_no_pickle(tmp_path: Path) -> None:
    file = SnapshotFile(tmp_path / "s.safetensors", Group())
    assert file.read() is None
    data = {"state": 2**127 + 1, "loss": 0.1 + 0.2}
    file.write(Snapshot({"a.b": torch.tensor(3.0), "a.c": torch.arange(3)}, data))
    read = file.read()
    assert read.data == data
    assert torch.equal(read.part("a")["c"], torch.arange(3))
    assert file.path.read_bytes()[8:].startswith(b'{"__metadata__"')
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_half_a_snapshot_is_refused(tmp_path: Path, cut: int) -> None:
    file = SnapshotFile(tmp_path / "s.safetensors", Group())
    file.write(Snapshot({"a": torch.arange(3)}, {"steps": 1}))
    with pytest.raises(BadRun, match="restart=True"):
        parse(file.path.read_bytes()[:cut], file.path)
    other = json.dumps({"__metadata__": {}}).encode()
    with pytest.raises(BadRun):
        parse(len(other).to_bytes(8, "little") + other, file.path)
