"""One decoding process as the server sees it: started, given jobs, killed.

It inherits no environment but what Python itself needs, so that no secret reaches the code that
parses hostile bytes.
"""

import logging
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from model_store import errors
from model_store.errors import BrokenImage, ImageError, ImageTooComplex
from model_store.image import DecodedFrames, FrameChoice, InputSpec
from model_store.image.viewing import LONGEST, Viewing
from serving.child import start_child
from serving.decoding.encoded import Encoded
from serving.decoding.messages import (
    ACCEPTED,
    DECODED,
    DENIED,
    GRANTED,
    JOB,
    NEEDS,
    Message,
    receive,
    send,
)
from serving.decoding.shared_body import shared_body
from serving.inference.batcher import Image

logger = logging.getLogger(__name__)

# One thread and one arena: a process decodes one image at a time. It keeps freed memory for the
# next image, because getting it from the system again costs up to half as much as decoding; what is
# over KEPT_BYTES (worker.py) it returns.
_FIXED: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
}
WALL_FACTOR: Final = 4  # seconds on the clock for each of processor time, on a machine that is busy
REFUSALS: Final[dict[str, type[ImageError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, ImageError)
}


class ProcessLost(Exception):
    """The process ended before it accepted the job, which another one can do."""


class ProcessKilled(ImageTooComplex):
    """The process was killed while it decoded: because the system was out of memory, or by
    somebody, for no reason of the image's.
    """


class NoMemoryNow(Exception):
    """The memory that the image needs was not free in time."""


Decoded: TypeAlias = Image | DecodedFrames | Viewing


@dataclass(frozen=True, slots=True)
class DecodingTarget:
    """What is to be made of an image: the model's input, that of chosen frames (at most
    `max_frames`), or a Viewing.
    """

    frame: FrameChoice | None = None
    max_frames: int = 1
    viewing: bool = False


@dataclass(frozen=True, slots=True)
class DecodingJob:
    """One image to decode, its limits, and how to `reserve` memory, of which there are
    `limit_bytes` in all.
    """

    data: Encoded
    spec: InputSpec
    max_pixels: int
    cpu_s: float
    limit_bytes: int
    reserve: Callable[[int], AbstractContextManager[bool]]
    wanted: DecodingTarget = DecodingTarget()

    @property
    def answer_bytes(self) -> int:
        """The largest answer."""
        if self.wanted.viewing:
            return 2 * 3 * LONGEST * LONGEST
        return self.wanted.max_frames * self.spec.channels * self.spec.height * self.spec.width


class DecodingProcess:
    """A process that decodes one image at a time. Use it from one thread at a time; `kill` from
    any.
    """

    def __init__(self) -> None:
        """Start it. Raises OSError."""
        self._connection, theirs = socket.socketpair()
        with theirs, shared_body() as shared:
            self._body = None if shared is None else shared[0]
            files = [] if shared is None else [shared[1]]
            try:
                self._process = start_child(
                    "serving.decoding.worker", theirs, files=files, environment=_FIXED
                )
            except OSError:
                self._close()
                raise
        self.used_s = time.monotonic()

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    def decode(self, job: DecodingJob) -> Decoded:
        """What `job` wants.

        Raises ImageError, among them ProcessKilled, ProcessLost or NoMemoryNow. After an error, ask
        `alive`.
        """
        accepted = False
        try:
            self._connection.settimeout(WALL_FACTOR * job.cpu_s)
            self._send(job)
            message = self._receive(job)
            if message is None:
                raise ProcessLost
            accepted = message.kind == ACCEPTED
            message = self._receive(job)
            if message is not None and message.kind == NEEDS:
                return self._decode_with_memory(job, int(message.head["bytes"]))
            return self._result(message, job)
        except (ValueError, LookupError, TypeError) as error:  # not what a decoding process says
            self.kill()
            raise BrokenImage("the decoder answered nonsense") from error
        except TimeoutError:
            self.kill()
            raise self._too_long(job) from None
        except OSError as error:
            self.kill()
            if accepted:
                raise self._died(job) from error
            raise ProcessLost from error
        finally:
            self.used_s = time.monotonic()

    def alive(self) -> bool:
        """Whether it can take another job."""
        return self._process.poll() is None

    @property
    def memory_bytes(self) -> int:
        """Resident memory; 0 if the system does not tell."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * resource.getpagesize()

    def interrupt(self) -> None:
        """End its job at once, from another thread than the one that waits for it."""
        self._process.kill()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self._connection.close()
        if self._body is not None:
            self._body.close()

    def _send(self, job: DecodingJob) -> None:
        shared = self._body is not None and self._body.write(job.data)
        limits = {
            "max_pixels": job.max_pixels,
            "cpu_s": job.cpu_s,
            "shared_bytes": len(job.data) if shared else None,
        }
        body = b"" if shared else job.data
        send(self._connection, JOB, body, spec=asdict(job.spec), **asdict(job.wanted), **limits)

    def _decode_with_memory(self, job: DecodingJob, needed: int) -> Decoded:
        with job.reserve(needed) as granted:
            send(self._connection, GRANTED if granted else DENIED, limit=job.limit_bytes)
            try:
                return self._result(self._receive(job), job)
            except ImageTooComplex:
                if not granted and needed <= job.limit_bytes:
                    raise NoMemoryNow from None
                raise

    def _receive(self, job: DecodingJob) -> Message | None:
        return receive(self._connection, limit_bytes=job.answer_bytes)

    def _result(self, message: Message | None, job: DecodingJob) -> Decoded:
        if message is None:
            self.kill()
            raise self._died(job)
        if message.kind == DECODED and job.wanted.viewing:
            offset, slope, center, width, inverted, reduced = message.head["viewing"]
            samples = np.frombuffer(message.data, np.uint16).reshape(message.head["shape"])
            return Viewing(samples, offset, slope, center, width, inverted, reduced)
        shape = (job.spec.channels, job.spec.height, job.spec.width)
        if message.kind == DECODED and job.wanted.frame is not None:
            pixels = np.frombuffer(message.data, np.uint8).reshape(-1, *shape)
            return DecodedFrames(pixels, int(message.head["first"]))
        if message.kind == DECODED and message.head["shape"] == list(shape):
            return np.frombuffer(message.data, np.uint8).reshape(shape)
        refusal = REFUSALS.get(message.head.get("error", ""), BrokenImage)
        error = refusal.__new__(refusal)
        error.args = (str(message.head.get("detail")),)
        raise error

    def _died(self, job: DecodingJob) -> ImageError:
        """Why it ended while it decoded."""
        code = self._process.returncode
        name = signal.Signals(-code).name if code < 0 else str(code)
        logger.warning(
            "a decoding process ended", extra={"fields": {"by": name, "bytes": len(job.data)}}
        )
        if code == -signal.SIGXCPU:
            return self._too_long(job)
        if code == -signal.SIGKILL:
            return ProcessKilled(
                "the decoding process was killed", f"{job.limit_bytes / 2**20:,.0f} MiB of memory"
            )
        return BrokenImage(f"the decoder ended with {name}")

    @staticmethod
    def _too_long(job: DecodingJob) -> ImageError:
        return ImageTooComplex("too many seconds of processor time", f"{job.cpu_s:g} s")
