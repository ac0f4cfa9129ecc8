"""Two and three real processes over gloo do what one process does."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from tests.builders.processes import free_port
from training.errors import BadGroup
from training.fitting.step import Step
from training.losses import LOSSES, LossSettings, build_objective
from training.processes.distributed import Group

FEW = ["ce", "dca", "mmce-weighted"]
SAME = [name for name in LOSSES if name != "mixup"]  # which pairs images of one process
KINDS = {"float64": (torch.float64, 1e-6), "float32": (torch.float32, 1e-5)}
COUNT = 23  # shards of 12 and 11, or 8, 8 and 7
WEIGHTS = torch.tensor([0.5, 1.0, 2.0])
Arrays = dict[str, NDArray[np.generic]]


def batch(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(COUNT, 5, generator=generator, dtype=torch.float64).to(dtype)
    return inputs, torch.randint(3, (COUNT,), generator=generator)


def network(dtype: torch.dtype, *, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    middle = nn.BatchNorm1d(8) if norm else nn.Identity()
    return nn.Sequential(nn.Linear(5, 8), middle, nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def outcome(
    name: str,
    kind: str,
    group: Group,
    indices: NDArray[np.int64],
    *,
    micro_batch: int | None = None,
    clip_norm: float | None = None,
) -> Arrays:
    """Loss, gradient, and weights after one step of `group` on the images at `indices`."""
    dtype, _ = KINDS[kind]
    inputs, labels = batch(dtype)
    module = network(dtype)
    objective = build_objective(name, LossSettings(class_weights=WEIGHTS))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    limits = {"micro_batch": micro_batch, "clip_norm": clip_norm}
    step = Step(module, objective, optimizer=optimizer, group=group, **limits)
    mine = group.shard(indices)
    result = step(inputs[mine], labels[mine])
    assert (result.logits is None) == (len(mine) == 0)
    gradient = torch.cat([p.grad.reshape(-1) for p in module.parameters() if p.grad is not None])
    weights = torch.cat([p.detach().reshape(-1) for p in module.parameters()])
    return {"loss": np.array(result.loss), "gradient": gradient.numpy(), "weights": weights.numpy()}


def wrapped(name: str, group: Group) -> Arrays:
    """The gradient with torch's DistributedDataParallel, which takes a mean over processes."""
    inputs, labels = batch(torch.float64)
    module: nn.Module = network(torch.float64)
    if group.size > 1:
        module = DistributedDataParallel(module)
    mine = group.shard(np.arange(COUNT))
    objective = build_objective(name, LossSettings(class_weights=WEIGHTS))
    logits = module(inputs[mine])
    own = zip(objective.terms, objective.statistics(logits, labels[mine]), strict=True)
    statistics = [term.merge(group.gather(part)) for term, part in own]
    (group.size * objective.share(logits, labels[mine], statistics)).backward()
    gradients = [p.grad.reshape(-1) for p in module.parameters() if p.grad is not None]
    return {"gradient": torch.cat(gradients).numpy()}


def normalized(group: Group) -> Arrays:
    """Batch norm's running mean after a step: exact however the images are sharded."""
    inputs, labels = batch(torch.float64)
    module = network(torch.float64, norm=True)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    mine = group.shard(np.arange(COUNT))
    Step(module, build_objective("dca", LossSettings()), optimizer=optimizer, group=group)(
        inputs[mine], labels[mine]
    )
    return {"mean": module[1].running_mean.numpy(), "variance": module[1].running_var.numpy()}


def outcomes(group: Group, *, micro_batch: int | None = None) -> Arrays:
    """Every loss, in micro-batches in one precision and whole in the other."""
    everything, two = np.arange(COUNT), np.arange(2)
    cases = {
        f"{name} float64": outcome(name, "float64", group, everything, micro_batch=micro_batch)
        for name in SAME
    }
    cases |= {f"{name} float32": outcome(name, "float32", group, everything) for name in SAME}
    # A third process has none of two images.
    cases |= {f"{name} few": outcome(name, "float64", group, two) for name in FEW}
    cases |= {f"{name} wrapped": wrapped(name, group) for name in FEW}
    cases |= {
        f"{name} clipped": outcome(name, "float64", group, everything, clip_norm=0.01)
        for name in FEW
    }
    cases["norm"] = normalized(group)
    return {
        f"{case}: {part}": value for case, parts in cases.items() for part, value in parts.items()
    }


def work(rank: int, size: int, port: int, folder: Path) -> None:
    here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
    here |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in here.items()})
    group = Group.from_environment()
    gathered = group.gather(torch.arange(rank, dtype=torch.float32))
    assert [part.tolist() for part in gathered] == [list(range(count)) for count in range(size)]
    assert group.leads == (rank == 0)
    np.savez(folder / f"{rank}.npz", **outcomes(group, micro_batch=3))
    group.wait()
    group.close()


def test_processes_with_uneven_shards_do_what_one_process_does(tmp_path: Path) -> None:
    size = 3
    multiprocessing.set_forkserver_preload([__name__])  # torch is imported once for all of them
    args = (size, free_port(), tmp_path)
    multiprocessing.start_processes(work, args, nprocs=size, start_method="forkserver")
    expected = outcomes(Group())
    for name in FEW:
        assert np.linalg.norm(expected[f"{name} clipped: gradient"]) == pytest.approx(
            0.01, rel=1e-4
        )
    for rank in range(size):
        found = np.load(tmp_path / f"{rank}.npz")
        assert set(found) == set(expected)
        for case, value in expected.items():
            if case == "norm: variance":  # within shards, so only the same everywhere
                np.testing.assert_array_equal(found[case], np.load(tmp_path / "0.npz")[case])
                continue
            limit = 1e-5 if "float32" in case else 1e-6
            np.testing.assert_allclose(found[case], value, rtol=limit, atol=limit, err_msg=case)


def test_an_incomplete_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(BadGroup, match=r"RANK.*start the processes with torchrun"):
        Group.from_environment()


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    group = Group.from_environment()
    assert (group.rank, group.size) == (0, 1)
    assert [part.tolist() for part in group.gather(torch.ones(2))] == [[1, 1]]
