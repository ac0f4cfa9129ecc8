"""A decoding process: takes one image after the other from its socket, within limits that the
kernel enforces, or the server where it does not (model_store/kernel.py).

Processor time: the kernel ends the process. Memory, a fixed share: what announces more is refused;
where allocation fails, the image is refused, and the process ends. Rights: it can reach the socket
and the memory and nothing else (model_store/confinement.py), so it imports everything before the
first image. It ignores SIGINT and SIGTERM, because a server that drains still needs it, and dies
with the server, even by kill -9.
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
    FREE_BYTES,
    LINE_BYTES,
    READY,
    REFUSED,
    SLACK_BYTES,
    SharedMemory,
    line,
)

# Memory that a process may keep between two jobs; the server sets as much aside for each process.
KEPT_BYTES: Final = 128 * 2**20
PAGE_BYTES: Final = resource.getpagesize()
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
    limits = JobLimits(image_bytes)
    _load_decoders()
    confine(threads=False)
    channel.send(READY)
    while answer(channel, channel.receive(), limits):
        if limits.memory_bytes()[1] > KEPT_BYTES:
            _trim()


def _load_decoders() -> None:
    """Import all that decoding does, because a confined process cannot."""
    Image.init()
    for name in ("config", "encaps", "filereader", "pixels.processing", "pixels.utils"):
        import_module(f"pydicom.{name}")
    if available():
        imagecodecs = import_module("imagecodecs")
        for decoder in DECODERS.values():
            getattr(imagecodecs, decoder)


def answer(channel: Channel, job: dict[str, Any], limits: "JobLimits") -> bool:
    """Decode one image within `limits`. Returns whether the process is still good for another."""
    channel.memory.reach(job["memory"])
    data = channel.memory.read(job["bytes"])
    limits.begin(cpu_s=float(job["cpu_s"]), beside_bytes=len(data))
    try:
        pixels, fields = _work(job, data, max_pixels=job["max_pixels"], reserve=limits.reserve)
    except (ImageError, MemoryError) as error:
        limits.lift()
        last = isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)
        if isinstance(error, MemoryError):
            error = ImageTooComplex("more memory than was set aside", "the memory for one image")
        channel.send(REFUSED, error=type(error).__name__, detail=str(error), last=last)
        return not last
    limits.lift()
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


class JobLimits:
    """The kernel's limits for one job after the other (of memory on Linux alone; elsewhere the
    server kills the process). A job makes few system calls for them,
    because a light model's answer would feel more.
    """

    def __init__(self, image_bytes: int) -> None:
        self._image_bytes = image_bytes
        _, self._hard_cpu = resource.getrlimit(resource.RLIMIT_CPU)
        _, self._hard_memory = resource.getrlimit(resource.RLIMIT_AS)
        try:
            self._statm: int | None = os.open("/proc/self/statm", os.O_RDONLY)
        except OSError:
            self._statm = None

    def begin(self, *, cpu_s: float, beside_bytes: int) -> None:
        """Limit the processor time of a job from now on, in seconds, and by how much the process
        may grow: by its share and by `beside_bytes`.
        """
        space_bytes, _ = self.memory_bytes()
        resource.setrlimit(
            resource.RLIMIT_CPU, (math.ceil(time.process_time() + cpu_s), self._hard_cpu)
        )
        soft = space_bytes + self._image_bytes + FREE_BYTES + beside_bytes + SLACK_BYTES
        if self._hard_memory != resource.RLIM_INFINITY:
            soft = min(soft, self._hard_memory)
        self._limit_memory(soft)

    def reserve(self, needed: int) -> None:
        """See image.cost.Reserve. Raises ImageTooComplex for more than the share."""
        if needed > self._image_bytes:
            limit = f"{self._image_bytes / 2**20:,.0f} MiB"
            raise ImageTooComplex(f"{needed / 2**20:,.0f} MiB of memory", limit)

    def lift(self) -> None:
        """End the limits; the answer may be as large as it is."""
        resource.setrlimit(resource.RLIMIT_CPU, (self._hard_cpu, self._hard_cpu))
        self._limit_memory(self._hard_memory)

    def _limit_memory(self, soft: int) -> None:
        if kernel.ENFORCES:  # else the server watches
            resource.setrlimit(resource.RLIMIT_AS, (soft, self._hard_memory))

    def memory_bytes(self) -> tuple[int, int]:
        """Address space and resident memory; where the system hides them, 256 MiB and 0."""
        if self._statm is None:
            return 256 * 2**20, 0
        space, resident = os.pread(self._statm, 256, 0).split()[:2]
        return int(space) * PAGE_BYTES, int(resident) * PAGE_BYTES


def _trim() -> None:
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


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
