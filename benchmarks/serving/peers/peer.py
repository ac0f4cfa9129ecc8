"""What the benchmark needs to know about another server."""

import base64
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import model_store

SERVERS = Path(__file__).parent / "servers"


class Body(NamedTuple):
    """A request's body and its content type."""

    content_type: str
    data: bytes


@dataclass(frozen=True)
class Scene:
    """Where a peer runs: its environment's `bin`, its folder, free ports, and the subject."""

    programs: Path
    folder: Path
    ports: tuple[int, ...]
    channels: int
    side: int

    @property
    def python(self) -> str:
        """The environment's interpreter."""
        return str(self.programs / "python")

    def environment(self) -> dict[str, str]:
        """The variables that the servers read (see servers/model.py)."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "CANDOR_"))
        }
        threads = str(len(os.sched_getaffinity(0)))
        return kept | {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(map(str, (SERVERS, self.folder / "decoder"))),
            "BENCH_ONNX": str(self.folder / "model.onnx"),
            "BENCH_CHANNELS": str(self.channels),
            "BENCH_SIDE": str(self.side),
            "BENCH_THREADS": threads,
            "BENCH_PORT": str(self.ports[0]),
            "HOME": str(self.folder),  # some write files there
            "TMPDIR": str(self.folder),
        }


def copy_decoder(folder: Path) -> None:
    """Copy what TorchServe archives contain of Candor: the decoder and its errors."""
    source = Path(model_store.__file__).parent
    shutil.copytree(source / "image", folder / "model_store" / "image")
    for name in ("__init__.py", "errors.py"):
        shutil.copy(source / name, folder / "model_store" / name)


def raw(image: bytes) -> Body:
    """The image itself."""
    return Body("application/octet-stream", image)


def multipart(field: str) -> Callable[[bytes], Body]:
    """A form with one file."""

    def body(image: bytes) -> Body:
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="image"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        return Body(
            f"multipart/form-data; boundary={boundary}",
            head.encode() + image + f"\r\n--{boundary}--\r\n".encode(),
        )

    return body


def instances(image: bytes) -> Body:
    """TensorFlow Serving's JSON, which KServe took over."""
    told = {"instances": [{"image": {"b64": base64.b64encode(image).decode()}}]}
    return Body("application/json", json.dumps(told).encode())


def script(name: str) -> Callable[[Scene], list[str]]:
    """Run a file of servers/ with the environment's Python."""
    return lambda scene: [scene.python, str(SERVERS / name)]


def nothing(_: Scene) -> None:
    """No preparation."""


@dataclass(frozen=True)
class Peer:
    """A server: what to install, how to start it, where and how it takes an image.

    `prepare` writes the files that the server needs; `batches` says whether it can infer several
    requests together.
    """

    title: str
    requirements: tuple[str, ...]
    path: str
    start: Callable[[Scene], list[str]]
    body: Callable[[bytes], Body] = raw
    prepare: Callable[[Scene], None] = nothing
    variables: Mapping[str, str] | None = None
    batches: bool = True
