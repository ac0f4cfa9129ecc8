"""Where training computes: the device, and what running out of its memory looks like."""

from typing import Literal

import torch

from training.errors import DeviceNotFound
from training.processes.distributed import Group

DeviceChoice = Literal["auto", "cpu", "cuda"]


def find_device(choice: DeviceChoice, group: Group) -> torch.device:
    """The device for `choice`; "auto" takes the GPU of this process of `group`, if any. Raises DeviceNotFound."""
    if choice == "cuda" and group.device.type != "cuda":
        raise DeviceNotFound("torch finds no CUDA GPU here; give --device cpu, or install a torch built for CUDA")
    return torch.device("cpu") if choice == "cpu" else group.device


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on a GPU or on the CPU.

    >>> out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."))
    True
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
