"""The processes that share a batch. They see each other only through this file.

Each process trains its own copy of the network on its shard of every batch. `torchrun` starts them and tells each who
it is; gloo carries the messages between CPUs and nccl between GPUs. A group of one needs neither.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from training.errors import BadGroup, LostProcess

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Group:
    """`size` processes of which this one is number `rank`, from 0; messages travel on `device`."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def alone(cls) -> Self:
        """The group of a single process, on its GPU where there is one."""
        return cls(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @classmethod
    def from_environment(cls) -> Self:
        """The group that torchrun started this process in; alone where it did not.

        To be closed at the end. Raises BadGroup.
        """
        if "WORLD_SIZE" not in os.environ:
            return cls.alone()
        missing = [name for name in TORCHRUN if name not in os.environ]
        if missing:
            raise BadGroup(f"WORLD_SIZE is set but {', '.join(missing)} not; start the processes with torchrun")
        return cls.join(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), local=int(os.environ["LOCAL_RANK"]))

    @classmethod
    def join(cls, rank: int, size: int, *, local: int = 0, meeting: str = "env://") -> Self:
        """Meet the other processes at `meeting`, a URL of torch.distributed. `local` numbers those of one machine."""
        if torch.cuda.is_available():
            device = torch.device("cuda", local)
            torch.cuda.set_device(device)
            distributed.init_process_group("nccl", meeting, rank=rank, world_size=size, device_id=device)
            return cls(rank, size, device)
        distributed.init_process_group("gloo", meeting, rank=rank, world_size=size)
        return cls(rank, size)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def shard(self, indices: NDArray[Number]) -> NDArray[Number]:
        """This process's part of `indices`; parts differ in length by one at most, and may be empty.

        >>> [Group(rank, 3).shard(np.arange(5)).tolist() for rank in range(3)]
        [[0, 1], [2, 3], [4]]
        """
        return np.array_split(indices, self.size)[self.rank]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes of tensors of one shape."""
        if self.size == 1:
            return tensor
        total = tensor.to(self.device, copy=True)
        _exchange(distributed.all_reduce, total)
        return total.to(tensor.device)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every process's tensor, in order of rank; their first lengths may differ, and be zero."""
        if self.size == 1:
            return [tensor]
        own = torch.tensor([len(tensor)], device=self.device)
        lengths = [torch.empty_like(own) for _ in range(self.size)]
        _exchange(distributed.all_gather, lengths, own)
        longest = max(int(length) for length in lengths)
        padded = torch.zeros(longest, *tensor.shape[1:], dtype=tensor.dtype, device=self.device)
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        _exchange(distributed.all_gather, parts, padded)
        return [part[: int(length)].to(tensor.device) for part, length in zip(parts, lengths, strict=True)]

    def wait(self) -> None:
        """Until every process is here: what one must have written before the others read it."""
        self.sum(torch.zeros(1))

    def close(self) -> None:
        """Leave together. A group of one has nothing to leave."""
        if self.size > 1:
            with suppress(RuntimeError):  # the others are gone already
                distributed.barrier()  # one that left first would pull down connections that others still use
            distributed.destroy_process_group()


def _exchange(collective: Callable[..., object], *tensors: Tensor | list[Tensor]) -> None:
    try:
        collective(*tensors)
    except RuntimeError as error:
        raise LostProcess(
            f"another process of this run is gone, and says why ({str(error).splitlines()[0]})"
        ) from error
