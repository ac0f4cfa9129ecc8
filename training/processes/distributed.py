"""The processes that share a batch. They communicate only through this file.

Each process trains its own copy of the network on its shard of every batch. `torchrun` starts the
processes and sets their ranks in the environment. gloo carries messages between CPUs and nccl
between GPUs. A single process needs neither.
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
    """`size` processes; this one has number `rank`, from 0, and sends messages from `device`."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def alone(cls) -> Self:
        """A group of one process, on its GPU if there is one."""
        return cls(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @classmethod
    def from_environment(cls) -> Self:
        """The group in which torchrun started this process, or `alone()`.

        Close it at the end. Raises BadGroup.
        """
        if "WORLD_SIZE" not in os.environ:
            return cls.alone()
        missing = [name for name in TORCHRUN if name not in os.environ]
        if missing:
            raise BadGroup(
                f"WORLD_SIZE is set but {', '.join(missing)} not; start the processes with torchrun"
            )
        rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        on_gpu = torch.cuda.is_available()
        device = torch.device("cuda", local) if on_gpu else torch.device("cpu")
        if on_gpu:
            torch.cuda.set_device(device)
            distributed.init_process_group("nccl", device_id=device)
        else:
            distributed.init_process_group("gloo")
        return cls(rank, size, device)

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def shard(self, indices: NDArray[Number]) -> NDArray[Number]:
        """This process's part of `indices`; parts differ in length by at most one and may be empty.

        >>> [Group(rank, 3).shard(np.arange(5)).tolist() for rank in range(3)]
        [[0, 1], [2, 3], [4]]
        """
        return np.array_split(indices, self.size)[self.rank]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes; its shape is the same in all."""
        if self.size == 1:
            return tensor
        total = tensor.to(self.device, copy=True)
        _exchange(distributed.all_reduce, total)
        return total.to(tensor.device)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes by rank; their first dimensions may differ or be zero."""
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
        return [
            part[: int(length)].to(tensor.device)
            for part, length in zip(parts, lengths, strict=True)
        ]

    def wait(self) -> None:
        """Wait for every process, for example until one has written what others read."""
        self.sum(torch.zeros(1))

    def close(self, *, failed: bool = False) -> None:
        """Leave the group, after all processes are done with it; at once if this one has `failed`.

        The others learn of a failure by their connections to this process, for which they may be
        waiting.
        """
        if self.size > 1:
            if not failed:
                with suppress(RuntimeError):  # the other processes have ended
                    # leaving early would close connections that others still use
                    distributed.barrier()
            distributed.destroy_process_group()


def _exchange(collective: Callable[..., object], *tensors: Tensor | list[Tensor]) -> None:
    try:
        collective(*tensors)
    except RuntimeError as error:
        raise LostProcess(
            "another process of this run has ended; its own error says why "
            f"({str(error).splitlines()[0]})"
        ) from error
