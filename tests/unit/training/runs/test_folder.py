"""The hidden folder of a run: who may resume it and when it is removed. Devices too."""

from pathlib import Path

import pytest
import torch

from training.errors import (
    DeviceNotFound,
    OutOfMemory,
    RunBusy,
    RunDiffers,
    RunExists,
    TrainingDiverged,
)
from training.processes.distributed import Group
from training.processes.execution import find_device, out_of_memory
from training.runs.folder import open_run_folder, run_folder_of

REQUEST = {"epochs": 3, "loss": "dca"}


def begin(out: Path) -> None:
    """Leave the files of a killed process."""
    with open_run_folder(out, REQUEST) as folder:
        folder.snapshot("head-0").write_bytes(b"snapshot")


def test_another_request_is_refused_or_starts_over(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    with (
        pytest.raises(RunDiffers, match=r"epochs 3 then, 4 now.*restart=True"),
        open_run_folder(tmp_path / "run", REQUEST | {"epochs": 4}),
    ):
        pass
    with open_run_folder(tmp_path / "run", REQUEST | {"epochs": 4}, restart=True) as folder:
        assert not folder.begun
        folder.snapshot("head-0").write_bytes(b"other")
    with open_run_folder(tmp_path / "run", REQUEST | {"epochs": 4}) as folder:
        assert folder.begun


def test_two_processes_cannot_train_one_run(tmp_path: Path) -> None:
    with open_run_folder(tmp_path / "run", REQUEST) as folder:
        with (
            pytest.raises(RunBusy, match="another process"),
            open_run_folder(tmp_path / "run", REQUEST),
        ):
            pass
        assert folder.part.is_dir()
    assert run_folder_of(tmp_path / "run") == folder
    (tmp_path / "run").mkdir()
    with pytest.raises(RunExists), open_run_folder(tmp_path / "run", REQUEST):
        pass


def test_a_missing_device_is_refused() -> None:
    alone = Group(device=torch.device("cpu"))
    assert find_device("auto", alone) == find_device("cpu", alone) == torch.device("cpu")
    with pytest.raises(DeviceNotFound, match=r"device=.cpu"):
        find_device("cuda", alone)
    second = Group(1, 2, torch.device("cuda", 1))
    assert find_device("auto", second) == find_device("cuda", second) == torch.device("cuda", 1)
    assert find_device("cpu", second) == torch.device("cpu")


def test_running_out_of_memory_is_recognized() -> None:
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)
    assert "micro_batch=16" in str(OutOfMemory(batch_size=64, micro_batch=32))
    assert "micro_batch=32" in str(OutOfMemory(batch_size=64, micro_batch=None))
