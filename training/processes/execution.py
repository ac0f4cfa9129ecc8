"""How the work of a fit is done, where and in which pieces, and the random numbers that go with it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from training.processes.distributed import Group

T = TypeVar("T")


@dataclass(frozen=True)
class Execution:
    """None of this changes what is asked for.

    `group` are the processes that share each batch; at most `micro_batch` images at a time go through the network;
    `amp` computes the network in half precision, losses in float32 all the same.
    """

    group: Group = field(default_factory=Group)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    micro_batch: int | None = None
    amp: bool = False


def leader_first(group: Group, work: Callable[[], T]) -> T:
    """What `work` gives, done by the first process before the others, which find its files on a shared disk."""
    if not group.leads:
        group.wait()
    done = work()
    if group.leads:
        group.wait()
    return done


@contextmanager
def seeded(seed: int, execution: Execution) -> Iterator[None]:
    """torch's random numbers come from `seed` within, others in each process, and go on as before afterwards."""
    rank, on_gpu = execution.group.rank, execution.device.type == "cuda"
    own = int(np.random.SeedSequence((seed, rank)).generate_state(1)[0]) if rank else seed
    with torch.random.fork_rng(devices=[execution.device] if on_gpu else []):
        torch.manual_seed(own)
        yield


def random_state(device: torch.device) -> Tensor:
    """torch's random state of the CPU, then that of `device` where it is a GPU, uint8 (S,)."""
    states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
    return torch.cat(states)


def set_random_state(state: Tensor, device: torch.device) -> None:
    """Undo what happened since `random_state` gave `state`."""
    size = len(torch.get_rng_state())
    torch.set_rng_state(state[:size])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[size:], device)
