"""The state of a fit between two epochs in one file: safetensors, with other data as JSON in the
header. No pickle.

The file is replaced atomically, so a process killed at any moment leaves a complete one. With
several processes the first one writes and reads and sends the bytes to the others, so they need no
shared disk.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save_file
from torch import Tensor

from calibration.wording import parameter
from training.errors import BadRun
from training.processes.distributed import Group

KEY = "candor"


@dataclass(frozen=True)
class Snapshot:
    """Named tensors, and plain data for JSON (floats read back exactly)."""

    tensors: Mapping[str, Tensor]
    data: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors named `prefix`.NAME, by NAME."""
        start = f"{prefix}."
        return {
            name.removeprefix(start): each
            for name, each in self.tensors.items()
            if name.startswith(start)
        }


@dataclass(frozen=True)
class SnapshotFile:
    """The file of a fit's snapshot; only the first process of `group` uses `path`."""

    path: Path
    group: Group

    def write(self, snapshot: Snapshot) -> None:
        """Replace the file by `snapshot`; it is on disk when this returns."""
        if self.group.rank != 0:
            return
        part = self.path.with_suffix(".part")
        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in snapshot.tensors.items()
        }
        save_file(tensors, part, metadata={KEY: json.dumps(snapshot.data)})
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(self.path)

    def read(self) -> Snapshot | None:
        """The snapshot, the same in every process; None if there is none. Raises BadRun."""
        content = self.path.read_bytes() if self.group.rank == 0 and self.path.is_file() else b""
        first = self.group.gather(
            torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else _NOTHING
        )[0]
        return parse(first.cpu().numpy().tobytes(), self.path) if len(first) else None


_NOTHING = torch.zeros(0, dtype=torch.uint8)


def parse(content: bytes, path: Path) -> Snapshot:
    """Parse the content of a snapshot file. Raises BadRun, naming `path`."""
    try:
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        return Snapshot(load(content), json.loads(metadata[KEY]))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise BadRun(
            f"{path} is not a training snapshot ({error}); start over with "
            f"{parameter('restart', True)}"
        ) from error
