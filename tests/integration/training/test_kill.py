"""Real processes: one is killed while it trains and resumed; two share every batch."""

import json
import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.builders.processes import candor_here
from training.datasets import load_dataset
from training.fitting.examples import Examples
from training.fitting.fit import fit
from training.fitting.history import Epoch
from training.fitting.schedule import Schedule
from training.fitting.snapshot import SnapshotFile, parse
from training.losses import LossSettings, build_objective
from training.processes.distributed import Group
from training.processes.execution import Execution
from training.runs.config import offline_config
from training.runs.run import RunResult, train

ROOT = Path(__file__).parents[3]
EPOCHS = 3
CHOICES = {"loss": "focal+dca", "select": "val_nll", "epochs": EPOCHS}
DEADLINE_S = 300.0
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def command(*arguments: str, home: Path) -> tuple[list[str], dict[str, str]]:
    """`candor ARGUMENTS`, with caches of its own."""
    environment = os.environ | {
        "HOME": str(home / "home"),
        "PYTHONPATH": str(ROOT),
    }
    return [sys.executable, "-m", "candor", *arguments], environment


def by_two(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """`candor ARGUMENTS` in two processes."""
    (python, *words), environment = command(*arguments, home=home)
    call = [python, *TORCHRUN, *words]
    return subprocess.run(
        call, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The same choices, trained here."""
    base = offline_config(loss="focal+dca", seed=0)
    config = base.model_copy(update={"select": "val_nll", "epochs": EPOCHS})
    return train(
        config, load_dataset("digits"), tmp_path_factory.mktemp("runs") / "run", pictures=False
    )


KILLED = """
import os, signal
from training.fitting import snapshot
save_file, left = snapshot.save_file, [2]

def killed(*arguments, **names):
    save_file(*arguments, **names)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

snapshot.save_file = killed
from candor.command_line import main
main()
"""


@pytest.mark.usefixtures("undrawn")
def test_a_killed_run_resumes_bitwise(uninterrupted: RunResult, tmp_path: Path) -> None:
    """It is killed when the second snapshot is written, but not yet in its place."""
    out = tmp_path / "run"
    snapshot = tmp_path / ".run.part" / "head-0.safetensors"
    config = tmp_path / "choices.json"
    config.write_text(json.dumps(CHOICES))
    arguments = ("train", "digits", "--out", str(out), "--config", str(config))
    (_, _, _, *words), environment = command(*arguments, home=tmp_path)
    call = [sys.executable, "-c", KILLED, *words]
    done = subprocess.run(call, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    assert len(parse(snapshot.read_bytes(), snapshot).data["history"]) == 1

    again = candor_here(*arguments)
    assert again.exit_code == 0, again.output
    assert "was interrupted; resuming" in " ".join(again.output.split())
    for name in ("checkpoint.safetensors", "history.csv", "metrics.json", "predictions.npz"):
        assert (out / name).read_bytes() == (uninterrupted.folder / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["choices.json", "home", "run"]


WORKER = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from test_kill import trained
from training.processes.distributed import Group
group = Group.from_environment()
folder = Path(sys.argv[1])
for stop in (4, 0):
    module = trained(group, folder / f"snapshot-{group.rank}.safetensors", stop=stop)
save_file(module.state_dict(), folder / f"weights-{group.rank}.safetensors")
group.close()
"""


def trained(group: Group, path: Path, *, stop: int = 0) -> nn.Module:
    """A network without batch norm and dropout, trained by `group`; interrupted in epoch `stop`."""
    generator = np.random.default_rng(0)
    labels = np.arange(83) % 3
    points = (generator.normal(size=(83, 5)) + np.eye(3, 5)[labels]).astype(np.float32)
    seen = Examples(points, labels.astype(np.int64))

    def watch(epoch: Epoch, _module: nn.Module) -> None:
        if epoch.epoch == stop:
            raise InterruptedError

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))
    with suppress(InterruptedError):
        fit(
            module,
            seen,
            seen,
            objective=build_objective(
                "dca", LossSettings(class_weights=torch.tensor([1.0, 2.0, 0.5]))
            ),
            schedule=Schedule(epochs=5, batch_size=20, learning_rate=1e-2),
            seed=0,
            execution=Execution(group, torch.device("cpu")),
            snapshots=SnapshotFile(path, group),
            watch=watch,
        )
    return module


@pytest.mark.nightly
def test_two_processes_train_and_resume_like_one(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    environment = os.environ | {"PYTHONPATH": path}
    call = [sys.executable, *TORCHRUN, str(tmp_path / "worker.py"), str(tmp_path)]
    done = subprocess.run(
        call, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    module = trained(Group(), tmp_path / "alone.safetensors")
    alone, first, second = (
        module.state_dict(),
        load_file(tmp_path / "weights-0.safetensors"),
        load_file(tmp_path / "weights-1.safetensors"),
    )
    for name, weights in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weights, rtol=1e-4, atol=1e-5)
    assert not (tmp_path / "snapshot-1.safetensors").exists()


@pytest.mark.nightly
def test_of_two_processes_of_the_command_line_one_writes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("train", "digits", "--epochs", "2", "--json", "--out", str(out))
    done = by_two(*arguments, home=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)  # one process speaks
    assert answer["run"] == str(out)
    assert len((out / "history.csv").read_text().splitlines()) == 3
    config = offline_config(loss="dca", seed=0).model_copy(update={"epochs": 2})
    alone = train(
        config, load_dataset("digits"), tmp_path / "alone", pictures=False
    ).evaluation.measures["test"]["none"]
    assert answer["splits"]["test"]["none"]["nll"] == pytest.approx(alone.nll, abs=0.05)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "home", "run"]


@pytest.mark.nightly
def test_what_the_first_process_refuses_ends_all(tmp_path: Path) -> None:
    """The second one waits for the first meanwhile, which must not wait for it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("not a run")
    arguments = shlex.split("train digits --epochs 1 --out")
    done = by_two(*arguments, str(tmp_path / "run"), home=tmp_path)
    assert done.returncode == 1
    assert f"candor: {tmp_path / 'run'} already exists" in done.stderr
