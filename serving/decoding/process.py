"""One decoding process as the server sees it, on the event loop: started, given jobs, killed."""

import asyncio
import json
import logging
import math
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import numpy as np

from hosting.errors import DecoderUnavailable
from model_store import errors, kernel
from model_store.errors import BrokenImage, ImageError, ImageTooComplex
from model_store.image import DecodedFrames, FrameChoice, InputSpec
from model_store.image.viewing import LONGEST, Viewing
from serving.decoding.channel import (
    DECODED,
    JOB,
    LINE_BYTES,
    READY,
    ROOM_BYTES,
    SharedMemory,
    line,
    shared_file,
)
from serving.decoding.child import start_child
from serving.inference.batcher import Image

logger = logging.getLogger(__name__)

START_S: Final = 60.0
WALL_FACTOR: Final = 4  # seconds on the clock for each of processor time, on a machine that is busy
REFUSALS: Final[dict[str, type[ImageError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, ImageError)
}


class ProcessKilled(ImageTooComplex):
    """The process was killed while it decoded: because the system was out of memory, or by
    somebody, for no reason of the image's.
    """


Decoded: TypeAlias = Image | DecodedFrames | Viewing | str | None


@dataclass(frozen=True)
class DecodingTarget:
    """The model's input, that of at most `max_frames` frames, a Viewing, or the PatientID."""

    frame: FrameChoice | None = None
    max_frames: int = 1
    viewing: bool = False
    identity: bool = False


@dataclass(frozen=True, slots=True)
class DecodingJob:
    """One image to decode, and its limits."""

    data: bytes
    spec: InputSpec
    max_pixels: int
    cpu_s: float
    wanted: DecodingTarget

    @property
    def answer_bytes(self) -> int:
        if self.wanted.viewing:
            return 2 * 3 * LONGEST * LONGEST
        return self.wanted.max_frames * self.spec.channels * self.spec.height * self.spec.width


class DecodingProcess(asyncio.Protocol):
    """A process that decodes one image at a time."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        memory: SharedMemory,
        watch: kernel.ChildWatch | None,
        image_bytes: int,
    ) -> None:
        """See `start`. `watch`: where the kernel enforces no limits."""
        self._process, self._memory, self._watch = process, memory, watch
        self._image_bytes = image_bytes
        self._buffer = bytearray()
        self._reply: asyncio.Future[dict[str, Any] | None] | None = None
        self._transport: asyncio.Transport | None = None
        self._too_slow = False
        self._standing_bytes = ROOM_BYTES
        self.usable = True
        self.ended: Callable[[DecodingProcess], None] = lambda _: None  # called at its end
        self.used_s = time.monotonic()

    @classmethod
    async def start(cls, image_bytes: int) -> Self:
        """Start one, on the thread of the event loop, because Linux ends it with its thread.

        `image_bytes`: its memory for the pixels of one image. Raises DecoderUnavailable.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                memory = SharedMemory(shared_file())
                try:
                    child, watch = start_child(theirs, memory.file, image_bytes)
                except OSError:
                    memory.close()
                    raise
            except OSError as error:
                ours.close()
                raise DecoderUnavailable(
                    f"no decoding process can be started here ({error.strerror})."
                ) from error
        process = cls(child, memory, watch, image_bytes)
        loop = asyncio.get_running_loop()
        process._reply = loop.create_future()
        try:
            await loop.create_unix_connection(lambda: process, sock=ours)
            reply = await process._replied(START_S)
        except BaseException:  # also who waits no longer, as when the server ends
            process.close()
            ours.close()
            raise
        if (reply or {}).get("kind") != READY:
            process.close()
            raise DecoderUnavailable("no decoding process stays alive here.")
        process._standing_bytes += process.memory_bytes
        return process

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def memory_bytes(self) -> int:
        """Resident memory; 0 if the system does not tell."""
        if self._watch is not None:
            return self._watch.memory_bytes
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * resource.getpagesize()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's have no base in common

    def data_received(self, data: bytes) -> None:
        """Take a reply, of which nobody has asked for more than one."""
        self._buffer += data
        if not self._buffer.endswith(b"\n") and len(self._buffer) < LINE_BYTES:
            return
        try:
            reply = json.loads(self._buffer)
            if not isinstance(reply, dict):
                raise ValueError("not an object")
        except ValueError:
            reply = {}
        self._buffer.clear()
        self._answer(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """The process has ended, or will now."""
        self.close()
        self._answer(None)
        self.ended(self)

    async def decode(self, job: DecodingJob) -> Decoded:
        """What `job` wants. Raises ImageError, among them ProcessKilled."""
        given_bytes = max(len(job.data), job.answer_bytes)
        self._memory.grow(given_bytes)
        self._memory.write(job.data)
        if self._watch is not None:  # else it asks the kernel itself
            self._watch.limit(self._standing_bytes + self._image_bytes + given_bytes)
        try:
            reply = await self._ask(
                WALL_FACTOR * job.cpu_s,
                JOB,
                bytes=len(job.data),
                memory=len(self._memory),
                max_pixels=job.max_pixels,
                cpu_s=job.cpu_s,
                spec=vars(job.spec),
                **vars(job.wanted),
            )
            if reply is None:
                raise await self._died(job)
            return self._result(reply, job)
        except (ValueError, LookupError, TypeError) as error:  # not what a decoding process says
            self.kill()
            raise BrokenImage("the decoder answered nonsense") from error
        finally:
            if self._watch is not None:
                self._watch.limit(None)
            self._memory.trim()
            self.used_s = time.monotonic()

    def kill(self) -> None:
        """End it soon, without waiting for that."""
        self.usable = False
        self._process.kill()

    def close(self) -> None:
        """End it now. A thread reaps it, because the system may take its time."""
        self.kill()
        if self._process.poll() is None:
            threading.Thread(target=self._process.wait, daemon=True).start()
        self._memory.close()
        if self._watch is not None:
            self._watch.close()
        if self._transport is not None:
            self._transport.abort()

    async def _ask(self, limit_s: float, kind: str, **fields: Any) -> dict[str, Any] | None:
        """Its reply to a message; None if it ended first."""
        assert self._transport is not None
        if self._transport.is_closing():  # it ended while nobody looked
            return None
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(line(kind, **fields))
        return await self._replied(limit_s)

    async def _replied(self, limit_s: float) -> dict[str, Any] | None:
        assert self._reply is not None
        timer = asyncio.get_running_loop().call_later(limit_s, self._end_as_too_slow)
        try:
            return await self._reply
        finally:
            timer.cancel()

    def _answer(self, reply: dict[str, Any] | None) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)

    def _end_as_too_slow(self) -> None:
        self._too_slow = True
        self.kill()

    def _result(self, reply: dict[str, Any], job: DecodingJob) -> Decoded:
        if reply["kind"] != DECODED:
            self.usable = not reply.get("last")
            refusal = REFUSALS.get(reply.get("error", ""), BrokenImage)
            error = refusal.__new__(refusal)
            error.args = (str(reply.get("detail")),)
            raise error
        one = (job.spec.channels, job.spec.height, job.spec.width)
        if job.wanted.identity:
            return None if reply["patient"] is None else str(reply["patient"])
        if job.wanted.viewing:
            offset, slope, center, width, inverted, reduced = reply["viewing"]
            samples = self._pixels(reply["shape"], np.uint16, job)
            return Viewing(samples, offset, slope, center, width, inverted, reduced)
        if job.wanted.frame is not None:
            shape = (int(reply["shape"][0]), *one)
            return DecodedFrames(self._pixels(shape, np.uint8, job), int(reply["first"]))
        image: Image = self._pixels(one, np.uint8, job)
        return image

    def _pixels(self, shape: Any, dtype: type[np.generic], job: DecodingJob) -> Any:
        """A copy of the pixels that the process has written."""
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if size_bytes > job.answer_bytes:
            raise ValueError(f"{size_bytes} bytes")
        return np.frombuffer(self._memory.read(size_bytes), dtype).reshape(shape)

    async def _died(self, job: DecodingJob) -> ImageError:
        """Why it ended while it decoded."""
        code = await asyncio.to_thread(self._process.wait)
        name = signal.Signals(-code).name if code < 0 else str(code)
        logger.warning(
            "a decoding process ended", extra={"fields": {"by": name, "bytes": len(job.data)}}
        )
        if self._too_slow or code == -signal.SIGXCPU:
            return ImageTooComplex("too many seconds of processor time", f"{job.cpu_s:g} s")
        if self._watch is not None and self._watch.killed:
            limit = "the memory for one image"
            return ImageTooComplex("more memory than was set aside", limit)
        if code == -signal.SIGKILL:
            limit = f"{self._image_bytes / 2**20:,.0f} MiB of memory"
            return ProcessKilled("the decoding process was killed", limit)
        return BrokenImage(f"the decoder ended with {name}")
