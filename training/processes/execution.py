"""How a fit is executed: device, processes, micro-batches, precision and random state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from calibration.wording import parameter
from training.choices import DeviceChoice
from training.errors import DeviceNotFound
from training.processes.distributed import Group


def find_device(choice: DeviceChoice, group: Group) -> torch.device:
    """The device for `choice`; "auto" is this process's GPU, if any. Raises DeviceNotFound."""
    if choice == "cuda" and group.device.type != "cuda":
        raise DeviceNotFound(
            f"torch finds no CUDA GPU; give {parameter('device', 'cpu')}, or install a torch built "
            "for CUDA"
        )
    return torch.device("cpu") if choice == "cpu" else group.device


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that memory ran out, on a GPU or on the CPU.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ..."))
    True
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


T = TypeVar("T")


@dataclass(frozen=True)
class Execution:
    """How a fit is executed; none of this changes the objective.

    `group` are the processes that share each batch. At most `micro_batch` images go through the
    network at a time. `amp` computes the network in half precision, but losses in float32.
    """

    group: Group = field(default_factory=Group)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    micro_batch: int | None = None
    amp: bool = False


def leader_first(group: Group, work: Callable[[], T]) -> T:
    """Run `work` in the first process, then in the others, which find its files on disk."""
    if not group.leads:
        group.wait()
    done = work()
    if group.leads:
        group.wait()
    return done


@contextmanager
def seeded(seed: int, execution: Execution) -> Iterator[None]:
    """Seed torch inside the block, differently in each process; restore its state afterwards."""
    rank, on_gpu = execution.group.rank, execution.device.type == "cuda"
    own = int(np.random.SeedSequence((seed, rank)).generate_state(1)[0]) if rank else seed
    with torch.random.fork_rng(devices=[execution.device] if on_gpu else []):
        torch.manual_seed(own)
        yield


def random_state(device: torch.device) -> Tensor:
    """torch's random state of the CPU, followed by that of `device` if it is a GPU, uint8 (S,)."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states)


def set_random_state(state: Tensor, device: torch.device) -> None:
    """Restore a state that `random_state` returned."""
    size = len(torch.get_rng_state())
    torch.set_rng_state(state[:size])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[size:], device)
