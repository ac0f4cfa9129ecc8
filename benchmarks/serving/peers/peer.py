"""What the benchmark needs to know about another server."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import model_store

SERVERS = Path(__file__).parent / "servers"


@dataclass(frozen=True)
class Peer:
    """A server: what to install, where it takes an image, and its file in servers/."""

    title: str
    requirements: tuple[str, ...]
    path: str
    server: str

    def command(self, programs: Path, port: int) -> list[str]:
        """How to start it with the environment's `bin` folder."""
        command = [str(programs / "python"), str(SERVERS / self.server)]
        return [*command, "--address", "127.0.0.1", "--port", str(port)]


def variables(folder: Path, *, programs: Path, channels: int, side: int) -> Mapping[str, str]:
    """The environment of a server with its model and decoder in `folder` (see servers/model.py)."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "CANDOR_"))
    }
    return kept | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, (SERVERS, folder / "decoder"))),
        "BENCH_ONNX": str(folder / "model.onnx"),
        "BENCH_CHANNELS": str(channels),
        "BENCH_SIDE": str(side),
        "BENCH_THREADS": str(len(os.sched_getaffinity(0))),
        "HOME": str(folder),  # some write files there
        "TMPDIR": str(folder),
    }


def copy_decoder(folder: Path) -> None:
    """Copy what TorchServe archives contain of Candor: the decoder and its errors."""
    source = Path(model_store.__file__).parent
    shutil.copytree(source / "image", folder / "model_store" / "image")
    for name in ("__init__.py", "errors.py"):
        shutil.copy(source / name, folder / "model_store" / name)
