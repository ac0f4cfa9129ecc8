"""A fit that is interrupted after any epoch and resumed ends bitwise like one that was not."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.builders.datasets import clouds
from training.errors import BadRun
from training.fitting.fit import fit
from training.fitting.history import Epoch
from training.fitting.schedule import Schedule
from training.fitting.snapshot import Snapshot, SnapshotFile, parse
from training.losses import LossSettings, build_objective
from training.processes.distributed import Group

SCHEDULE = Schedule(epochs=4, batch_size=16, learning_rate=1e-2, decay="cosine")


def trained(
    schedule: Schedule, path: Path | None = None, *, loss: str = "dca", stop_in: int | None = None
) -> tuple[dict[str, Tensor], list[Epoch]]:
    """Weights and history; interrupted in epoch `stop_in`, before its snapshot."""

    def watch(epoch: Epoch, _module: nn.Module) -> None:
        if epoch.epoch == stop_in:
            raise InterruptedError

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2)
    )
    history: list[Epoch] = []
    with suppress(InterruptedError):
        history = fit(
            module,
            clouds(67),
            clouds(40, seed=1),
            objective=build_objective(loss, LossSettings()),
            schedule=schedule,
            seed=3,
            snapshots=SnapshotFile(path, Group()) if path else None,
            watch=watch,
        )
    return module.state_dict(), history


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "loss"),
    [
        ({}, "dca"),
        ({"decay": "none"}, "ce"),
        ({}, "focal+mmce"),
        ({"select": "val_nll", "learning_rate": 0.3}, "label-smoothing"),
        ({"gentle": True}, "dca"),
    ],
)
def test_it_resumes_bitwise_from_every_epoch(
    tmp_path: Path, changes: dict[str, Any], loss: str
) -> None:
    schedule = replace(SCHEDULE, **changes)
    weights, history = trained(schedule, loss=loss)
    for stop in range(1, len(history) + 1):
        path = tmp_path / f"{stop}.safetensors"
        assert trained(schedule, path, loss=loss, stop_in=stop)[1] == []
        assert path.exists() == (stop > 1)
        for _ in range(2):  # a finished fit returns its result again
            resumed, lines = trained(schedule, path, loss=loss)
            assert lines == history
            assert all(torch.equal(resumed[name], weights[name]) for name in weights)


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
