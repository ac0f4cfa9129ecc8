"""The device of training: which one, whether half precision helps there, and how to see that its
memory ran out.
"""

from typing import Literal

import torch

from training.errors import DeviceNotFound
from training.processes.distributed import Group

DeviceChoice = Literal["auto", "cpu", "cuda"]


def find_device(choice: DeviceChoice, group: Group) -> torch.device:
    """The device for `choice`; "auto" is the GPU of this process of `group`, if any. Raises
    DeviceNotFound.
    """
    if choice == "cuda" and group.device.type != "cuda":
        raise DeviceNotFound(
            "torch finds no CUDA GPU; give --device cpu, or install a torch built for CUDA"
        )
    return torch.device("cpu") if choice == "cpu" else group.device


def computes_in_half(device: torch.device) -> bool:
    """Whether `device` multiplies in half precision faster than in float32: GPUs, and CPUs with
    bfloat16 units.
    """
    if device.type != "cpu":
        return True
    units = (
        "_is_amx_tile_supported",
        "_is_avx512_bf16_supported",
    )  # torch has no public name for these
    return any(getattr(torch.cpu, name, lambda: False)() for name in units)


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that memory ran out, on a GPU or on the CPU.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ..."))
    True
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
