"""The device of training, and how to recognize that its memory ran out."""

from typing import Literal

import torch

from training.errors import DeviceNotFound
from training.processes.distributed import Group

DeviceChoice = Literal["auto", "cpu", "cuda"]


def find_device(choice: DeviceChoice, group: Group) -> torch.device:
    """The device for `choice`; "auto" is the GPU of this process of `group`, if any. Raises DeviceNotFound."""
    if choice == "cuda" and group.device.type != "cuda":
        raise DeviceNotFound("torch finds no CUDA GPU; give --device cpu, or install a torch built for CUDA")
    return torch.device("cpu") if choice == "cpu" else group.device


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that memory ran out, on a GPU or on the CPU.

    >>> out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."))
    True
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
