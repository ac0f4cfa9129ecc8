"""A decoding process: takes one image after the other from its socket, within limits that the
kernel enforces, or the server where it does not (model_store/kernel.py).

Processor time: the kernel ends the process. Memory, a share that is fixed at the start: what
announces more is refused; where allocation fails, the image is refused, and the process ends.
Rights: it can reach the socket and the memory and nothing else (model_store/confinement.py), so it
imports everything before the first image. It ignores SIGINT and SIGTERM, because a server that
drains still needs it, and dies with the server, even by kill -9.
"""

import ctypes
import json
import math
import os
import resource
import signal
import socket
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from model_store import kernel
from model_store.confinement import confine
from model_store.errors import ImageError, ImageTooComplex
from model_store.image import FrameChoice, InputSpec, decode, decode_frames, patient_of
from model_store.image.codecs import DECODERS, available
from model_store.image.viewing import view
from serving.decoding.channel import (
    DECODED,
    LINE_BYTES,
    READY,
    REFUSED,
    ROOM_BYTES,
    SharedMemory,
    line,
)

_PR_SET_PDEATHSIG: Final = 1


class Channel:
    """The socket that is standard input, and the memory in `file`."""

    def __init__(self, file: int) -> None:
        self._socket = socket.socket(fileno=os.dup(0))
        self._lines = self._socket.makefile("rb")
        self.memory = SharedMemory(file)

    def send(self, kind: str, **fields: Any) -> None:
        self._socket.sendall(line(kind, **fields))

    def receive(self) -> dict[str, Any]:
        """The next message. Ends the process once the server has gone."""
        message = self._lines.readline(LINE_BYTES)
        if not message:
            sys.exit()
        fields: dict[str, Any] = json.loads(message)
        return fields


def main(parent: int, file: int, pipe: int | None, image_bytes: int) -> None:
    """Take jobs until the server of process id `parent` ends. `file`: of the shared memory; `pipe`:
    of the server, where the kernel enforces nothing; `image_bytes`: memory for the pixels of one.
    """
    kernel.ENFORCES = pipe is None
    obey_only(parent, pipe)
    channel = Channel(file)
    _load_decoders()
    share = Share(image_bytes)
    confine(threads=False)
    channel.send(READY)
    while answer(channel, channel.receive(), share):
        pass


def _load_decoders() -> None:
    """Import all that decoding does, because a confined process cannot."""
    Image.init()
    for name in ("config", "encaps", "filereader", "pixels.processing", "pixels.utils"):
        import_module(f"pydicom.{name}")
    if available():
        imagecodecs = import_module("imagecodecs")
        for decoder in DECODERS.values():
            getattr(imagecodecs, decoder)


def answer(channel: Channel, job: dict[str, Any], share: "Share") -> bool:
    """Decode one image within `share`. Returns whether the process is still good for another."""
    share.begin(cpu_s=float(job["cpu_s"]), given_bytes=job["memory"] + job["bytes"])
    channel.memory.reach(job["memory"])
    data = channel.memory.read(job["bytes"])
    try:
        pixels, fields = _work(job, data, max_pixels=job["max_pixels"], reserve=share.reserve)
    except (ImageError, MemoryError) as error:
        last = isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)
        if isinstance(error, MemoryError):
            error = ImageTooComplex("more memory than was set aside", "the memory for one image")
        channel.send(REFUSED, error=type(error).__name__, detail=str(error), last=last)
        return not last
    channel.memory.write(pixels.data.cast("B"))
    channel.send(DECODED, shape=pixels.shape, **fields)
    return True


def _work(job: dict[str, Any], data: bytes, **limits: Any) -> tuple[Any, dict[str, Any]]:
    """The pixels that are wanted, and what is said of them."""
    spec, frame = read_spec(job["spec"]), job["frame"]
    if job["identity"]:
        return np.zeros(1, np.uint8), {"patient": patient_of(data)}
    if job["viewing"]:
        return _view(data, spec, frame, **limits)
    if frame is None:
        return decode(data, spec, **limits), {}
    found = decode_frames(data, spec, frame, max_frames=job["max_frames"], **limits)
    return found.pixels, {"first": found.first}


def _view(
    data: bytes, spec: InputSpec, frame: FrameChoice | None, **limits: Any
) -> tuple[Any, dict[str, Any]]:
    frames = spec.frames if frame is None else frame
    samples, *rest = view(data, window=spec.window, frames=frames, **limits)
    return np.ascontiguousarray(samples), {"viewing": rest}


def read_spec(fields: dict[str, Any]) -> InputSpec:
    window = fields["window"]
    return InputSpec(**(fields | {"window": None if window is None else tuple(window)}))


class Share:
    """The memory that this process has from its start, and the limits of each job, by the kernel;
    elsewhere the server kills the process.
    """

    def __init__(self, image_bytes: int) -> None:
        """`image_bytes`: for the pixels of one image."""
        self._image_bytes = image_bytes
        self._fixed_bytes = _size_bytes() + image_bytes + ROOM_BYTES

    def begin(self, *, cpu_s: float, given_bytes: int) -> None:
        """Limit the processor time of a job, in seconds, and memory to the share and `given_bytes`,
        which the server has set aside for the image as it came.
        """
        soft_s = math.ceil(time.process_time() + cpu_s)
        resource.setrlimit(resource.RLIMIT_CPU, (soft_s, resource.RLIM_INFINITY))
        if kernel.ENFORCES:
            soft_bytes = self._fixed_bytes + given_bytes
            resource.setrlimit(resource.RLIMIT_AS, (soft_bytes, resource.RLIM_INFINITY))

    def reserve(self, needed: int) -> None:
        """See image.cost.Reserve. Raises ImageTooComplex for more than the share."""
        if needed > self._image_bytes:
            limit = f"{self._image_bytes / 2**20:,.0f} MiB"
            raise ImageTooComplex(f"{needed / 2**20:,.0f} MiB of memory", limit)


def _size_bytes() -> int:
    """Address space of this process; where the system hides it, 256 MiB."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 256 * 2**20


def obey_only(parent: int, pipe: int | None) -> None:
    """Ignore SIGINT and SIGTERM, which the server answers, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if pipe is not None:
        kernel.end_with(pipe)
    else:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit()
