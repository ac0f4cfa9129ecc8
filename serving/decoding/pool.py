"""Decodes each image by itself, before it joins a batch, so that a broken image does not affect
others.

A plain PNG (model_store/image/plain_png.py) is decoded on the event loop, because handing it over
would take longer. Every other image goes to a decoding process. As many are decoded at a time as there are
processes; the others wait, up to the deadline.
"""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import numpy as np

from model_store.image import DecodedFrames, FrameChoice, InputSpec, decode_plain
from model_store.image.viewing import Viewing
from model_store.operating_system import usable_cores
from serving.decoding.encoded import Encoded
from serving.decoding.memory import MemoryBudget
from serving.decoding.process import (
    Decoded,
    DecodingJob,
    DecodingProcess,
    DecodingTarget,
    NoMemoryNow,
    ProcessKilled,
    ProcessLost,
)
from serving.errors import DecoderUnavailable, Overloaded
from serving.inference.admission import QueueEstimate
from serving.inference.batcher import Image
from serving.inference.metrics import ServingMetrics
from serving.settings import Settings

STANDING_BYTES: Final = (
    128 * 2**20
)  # of each process: Python, its libraries, and what a job may use without asking
LARGE_BYTES: Final = (
    64 * 2**20
)  # a process of this size is ended, too, once it is idle; a fresh one is smaller
IDLE_S: Final = 10.0  # after which all processes but one are ended
TRIES: Final = 3


class DecodingPool:
    """Decodes plain PNG on the event loop and all others in processes. Its methods run on the
    event loop.
    """

    def __init__(self, settings: Settings, metrics: ServingMetrics) -> None:
        self._max_pixels = settings.max_pixels
        self._cpu_s, self._max_frames = settings.decode_cpu_s, settings.max_items
        self._metrics = metrics
        self._queue = QueueEstimate(deadline_s=settings.deadline_s)
        self._patience_s = settings.deadline_s or settings.decode_cpu_s
        self._turn = asyncio.Lock()
        self.limit = _process_limit(settings)
        self._free = asyncio.Semaphore(self.limit)
        memory_bytes = max(
            STANDING_BYTES, settings.decode_memory_bytes - self.limit * STANDING_BYTES
        )
        self._processes = _Processes(
            self.limit, MemoryBudget(memory_bytes), wait_s=self._patience_s
        )
        self._retiring: asyncio.TimerHandle | None = None

    async def decode(
        self, data: Encoded, spec: InputSpec, *, deadline_s: float | None = None
    ) -> Image:
        """`data` as (C, H, W) uint8. Raises model_store's ImageError, Overloaded or
        DecoderUnavailable.

        `deadline_s`: the longest wait that the client accepts, in seconds.
        """
        started_s = time.perf_counter()
        if not isinstance(data, memoryview):  # a view is of a large body
            plain = decode_plain(data, spec, max_pixels=self._max_pixels)
            if plain is not None:
                self._metrics.decode.observe(time.perf_counter() - started_s)
                return plain
        decoded = await self._decode_in_process(data, spec, deadline_s, DecodingTarget())
        assert isinstance(decoded, np.ndarray)
        self._metrics.decode.observe(time.perf_counter() - started_s)
        return decoded

    async def decode_frames(
        self,
        data: Encoded,
        spec: InputSpec,
        frame: FrameChoice,
        *,
        limit: int | None = None,
        deadline_s: float | None = None,
    ) -> DecodedFrames:
        """The chosen frames of `data`, at most `limit` (CANDOR_MAX_ITEMS), always from a process.

        Raises what `decode` raises.
        """
        started_s = time.perf_counter()
        most = self._max_frames if limit is None else min(limit, self._max_frames)
        found = await self._decode_in_process(data, spec, deadline_s, DecodingTarget(frame, most))
        assert isinstance(found, DecodedFrames)
        self._metrics.decode.observe(time.perf_counter() - started_s)
        return found

    async def decode_in_turn(self, data: bytes, spec: InputSpec) -> Image:
        """`decode` for one of several images: before each, the event loop turns to other
        requests.
        """
        async with self._turn:
            await asyncio.sleep(0)
        return await self.decode(data, spec)

    async def view(self, data: bytes, spec: InputSpec, frame: FrameChoice | None) -> Viewing:
        """`data` as a viewer needs it, always from a process. Raises what `decode` raises."""
        found = await self._decode_in_process(data, spec, None, DecodingTarget(frame, viewing=True))
        assert isinstance(found, Viewing)
        return found

    def warm_up(self) -> None:
        """Start the first process now, so that no image waits for it."""
        asyncio.get_running_loop().run_in_executor(self._processes.threads, self._processes.warm_up)

    def close(self) -> None:
        """End the processes and the threads."""
        if self._retiring is not None:
            self._retiring.cancel()
        self._processes.close()

    async def _decode_in_process(
        self, data: Encoded, spec: InputSpec, deadline_s: float | None, wanted: DecodingTarget
    ) -> Decoded:
        self._queue.admit(deadline_s)
        self._queue.waiting += 1
        arrived_s = time.perf_counter()
        try:
            await self._acquire(deadline_s)
        except BaseException:
            self._queue.waiting -= 1
            raise
        run = partial(
            self._processes.decode,
            data,
            spec,
            max_pixels=self._max_pixels,
            cpu_s=self._cpu_s,
            wanted=wanted,
        )
        working = asyncio.get_running_loop().run_in_executor(self._processes.threads, run)
        # The client may hang up meanwhile: the place is free only once the process is.
        working.add_done_callback(self._release)
        try:
            decoded = await asyncio.shield(working)
        except NoMemoryNow:
            raise self._overloaded(deadline_s) from None
        # Only what succeeds is counted: an image that is refused late says nothing about the next.
        count = len(decoded.pixels) if isinstance(decoded, DecodedFrames) else 1
        self._queue.delivered(count, arrived_s=arrived_s, now_s=time.perf_counter())
        return decoded

    async def _acquire(self, asked_s: float | None) -> None:
        """Wait for a free process. Raises Overloaded after the deadline, which grows while slow
        images are decoded.
        """
        started_s = time.perf_counter()
        acquiring = asyncio.ensure_future(self._free.acquire())
        try:
            while not acquiring.done():
                left_s = started_s + self._longest_s(asked_s) - time.perf_counter()
                if left_s <= 0:
                    raise self._overloaded(asked_s)
                await asyncio.wait((acquiring,), timeout=left_s)
        except BaseException:
            if not acquiring.cancel():
                self._free.release()
            raise

    def _longest_s(self, asked_s: float | None) -> float:
        """The longest wait for a process: the deadline, but without a setting no less than one
        image may take.
        """
        longest_s = max(self._patience_s, self._queue.deadline_s)
        return longest_s if asked_s is None else min(asked_s, longest_s)

    def _overloaded(self, asked_s: float | None) -> Overloaded:
        deadline_s = self._longest_s(asked_s)
        wait_s = max(self._queue.wait_s, deadline_s)
        return Overloaded(wait_s=wait_s, deadline_s=deadline_s, clears_s=wait_s)

    def _release(self, working: "asyncio.Future[Decoded]") -> None:
        self._queue.waiting -= 1
        self._free.release()
        if not working.cancelled():
            working.exception()  # retrieved, even if nobody waits any more
        if self._retiring is None:
            self._retiring = working.get_loop().call_later(IDLE_S, self._retire)

    def _retire(self) -> None:
        """End processes that nobody needs, off the event loop, and look again while any is in
        use.
        """
        loop = asyncio.get_running_loop()
        again = self._processes.in_use
        loop.run_in_executor(self._processes.threads, self._processes.retire)
        self._retiring = loop.call_later(IDLE_S, self._retire) if again else None


class _Processes:
    """The processes, and one thread for each, which waits for it. All methods but `close` run in
    those threads.
    """

    def __init__(self, limit: int, memory: MemoryBudget, *, wait_s: float) -> None:
        self._memory = memory
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._idle: list[DecodingProcess] = []
        self._busy: set[DecodingProcess] = set()
        self._closed = False
        # They live until `close`: where a thread ends, Linux ends the processes that it started.
        self.threads = ThreadPoolExecutor(limit, thread_name_prefix="candor-decode")

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._idle) + len(self._busy)

    @property
    def in_use(self) -> bool:
        """Whether any works, or has worked lately."""
        with self._lock:
            return bool(self._busy) or any(not _is_idle(process) for process in self._idle)

    def decode(
        self,
        data: Encoded,
        spec: InputSpec,
        *,
        max_pixels: int,
        cpu_s: float,
        wanted: DecodingTarget,
    ) -> Decoded:
        """What is wanted of the image. Raises ImageError, NoMemoryNow or DecoderUnavailable.

        An image whose process is killed is tried once more: the second time it is the cause.
        """
        reserve = partial(self._memory.reserve, timeout_s=self._wait_s)
        job = DecodingJob(
            data, spec, max_pixels, cpu_s, self._memory.capacity_bytes, reserve, wanted
        )
        killed = False
        for _ in range(TRIES):
            process = self._take()
            try:
                return process.decode(job)
            except ProcessLost:
                process.kill()
            except ProcessKilled:
                if killed or self._closed:
                    raise
                killed = True
            finally:
                self._give_back(process)
        raise DecoderUnavailable(
            "no decoding process stays alive here; the server's log says more."
        )

    def warm_up(self) -> None:
        """Start one. Where none can be started, the next image is told so."""
        with contextlib.suppress(DecoderUnavailable):
            self._give_back(self._take())

    def retire(self) -> None:
        """End what has been idle for long, but keep one that has not grown, or start it."""
        with self._lock:
            latest_first = sorted(self._idle, key=lambda process: process.used_s, reverse=True)
            ended = {
                process
                for place, process in enumerate(latest_first)
                if _is_idle(process) and (place > 0 or process.memory_bytes > LARGE_BYTES)
            }
            self._idle = [process for process in self._idle if process not in ended]
        for process in ended:
            process.kill()
        if not self.count:
            self.warm_up()

    def close(self) -> None:
        """End them all."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for process in self._busy:
                process.interrupt()
        for process in idle:
            process.kill()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> DecodingProcess:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is None:
            try:
                process = DecodingProcess()
            except OSError as error:
                raise DecoderUnavailable(
                    f"no decoding process can be started here ({error.strerror})."
                ) from error
        with self._lock:
            self._busy.add(process)
        return process

    def _give_back(self, process: DecodingProcess) -> None:
        with self._lock:
            self._busy.discard(process)
            keep = not self._closed and process.alive()
            if keep:
                self._idle.append(process)
        if not keep:
            process.kill()


def _is_idle(process: DecodingProcess) -> bool:
    return time.monotonic() - process.used_s > IDLE_S


def _process_limit(settings: Settings) -> int:
    """How many processes: half of the memory remains to be shared out to large images.

    Two for each core, so that they get on while a batch is inferred on all cores.
    """
    fitting = max(1, settings.decode_memory_bytes // (2 * STANDING_BYTES))
    return settings.decode_processes or min(2 * usable_cores(), fitting)
