"""Decodes each image by itself, before it joins a batch, so that a broken image does not affect
others.

A plain PNG (model_store/image/plain_png.py) is decoded on the event loop, because handing it over
would take longer. Every other image goes to a decoding process. As many are decoded at a time as
there are processes; the others wait, up to the deadline.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Final

import numpy as np

from hosting.errors import DecoderUnavailable, Overloaded
from hosting.settings import Settings
from model_store.errors import EmptyImage
from model_store.image import DecodedFrames, FrameChoice, InputSpec, decode_plain
from model_store.image.viewing import Viewing
from model_store.installation import usable_cores
from serving.decoding.channel import ROOM_BYTES
from serving.decoding.process import (
    Decoded,
    DecodingJob,
    DecodingProcess,
    DecodingTarget,
    ProcessKilled,
)
from serving.inference.admission import Places, QueueEstimate
from serving.inference.batcher import Image

CPU_S: Final = 10.0  # of processor time, for one image
PIXEL_BYTES: Final = 8  # of a share, for each pixel of the largest image: 512 MiB by default
LARGE_BYTES: Final = 96 * 2**20  # of an idle process; a fresh one is smaller
IDLE_S: Final = 10.0  # after which all processes but one are ended


class Decoder:
    """Decodes plain PNG on the event loop and all else in processes. Use it on the event loop."""

    def __init__(self, settings: Settings, observe_s: Callable[[float], None]) -> None:
        """`observe_s` gets the seconds that each image takes, with its wait."""
        self._max_pixels, self._max_frames = settings.max_pixels, settings.max_items
        self._patience_s = settings.deadline_s or CPU_S
        self._observe_s = observe_s
        self._load = QueueEstimate(deadline_s=settings.deadline_s)
        self._turn = asyncio.Lock()
        limit = process_limit(settings)
        # beyond one for each core, a client leaves a place to others
        self._places = Places(limit, spare=int(limit > usable_cores()))
        share_bytes = settings.decode_memory_bytes // limit
        self._image_bytes = share_bytes - ROOM_BYTES
        self._idle: list[DecodingProcess] = []
        self._busy: set[DecodingProcess] = set()
        self._tasks: set[asyncio.Task[Decoded]] = set()
        self._retiring: asyncio.TimerHandle | None = None
        self._warming: asyncio.Task[None] | None = None
        self._closed = False

    async def decode(
        self, data: bytes, spec: InputSpec, *, deadline_s: float | None = None
    ) -> Image:
        """`data` as (C, H, W) uint8. Raises model_store's ImageError, Overloaded or
        DecoderUnavailable.

        `deadline_s`: the longest wait that the client accepts, in seconds.
        """
        started_s = time.perf_counter()
        plain = decode_plain(data, spec, max_pixels=self._max_pixels)
        if plain is not None:
            self._observe_s(time.perf_counter() - started_s)
            return plain
        image = await self._in_process(data, spec, deadline_s, DecodingTarget())
        assert isinstance(image, np.ndarray)
        return image

    async def decode_in_turn(self, image: bytes | Image, spec: InputSpec) -> Image:
        """`decode` if it is encoded. Before each image, the event loop turns to other requests."""
        if isinstance(image, np.ndarray):
            return image
        async with self._turn:
            await asyncio.sleep(0)
        return await self.decode(image, spec)

    async def decode_frames(
        self,
        data: bytes,
        spec: InputSpec,
        frame: FrameChoice,
        *,
        limit: int | None = None,
        deadline_s: float | None = None,
    ) -> DecodedFrames:
        """The chosen frames of `data`, at most `limit` (CANDOR_MAX_ITEMS), always from a process.

        Raises what `decode` raises.
        """
        most = self._max_frames if limit is None else min(limit, self._max_frames)
        found = await self._in_process(data, spec, deadline_s, DecodingTarget(frame, most))
        assert isinstance(found, DecodedFrames)
        return found

    async def view(self, data: bytes, spec: InputSpec, frame: FrameChoice | None) -> Viewing:
        """`data` as a viewer needs it, always from a process. Raises what `decode` raises."""
        found = await self._in_process(data, spec, None, DecodingTarget(frame, viewing=True))
        assert isinstance(found, Viewing)
        return found

    async def patient_of(
        self, data: bytes, spec: InputSpec, *, deadline_s: float | None = None
    ) -> str | None:
        found = await self._in_process(data, spec, deadline_s, DecodingTarget(identity=True))
        return found if isinstance(found, str) else None

    async def warm_up(self) -> None:
        """Start the first process now, so that no image waits for it.

        Where none can be started, the next image is told so.
        """
        if not self.count:
            await self._start_one()

    @property
    def count(self) -> int:
        return len(self._idle) + len(self._busy)

    def close(self) -> None:
        self._closed = True
        if self._retiring is not None:
            self._retiring.cancel()
        for process in (*self._idle, *self._busy):
            process.close()

    async def _in_process(
        self, data: bytes, spec: InputSpec, deadline_s: float | None, wanted: DecodingTarget
    ) -> Decoded:
        if not data:  # which needs no process
            raise EmptyImage
        self._load.admit(deadline_s)
        arrived_s = time.perf_counter()
        self._load.waiting += 1
        try:
            if not await self._places.take(wait_s=lambda: self._longest_s(deadline_s)):
                raise self._overloaded(deadline_s)
        except BaseException:
            self._load.waiting -= 1
            raise
        job = DecodingJob(data, spec, self._max_pixels, CPU_S, wanted)
        # The client may hang up meanwhile: the place is free only once the process is.
        task = asyncio.ensure_future(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._ran)
        decoded = await asyncio.shield(task)
        # Only what succeeds is counted: an image that is refused late says nothing about the next.
        now_s = time.perf_counter()
        count = len(decoded.pixels) if isinstance(decoded, DecodedFrames) else 1
        self._load.delivered(count, arrived_s=arrived_s, now_s=now_s)
        self._observe_s(now_s - arrived_s)
        return decoded

    async def _run(self, job: DecodingJob) -> Decoded:
        """Decode in a process. If that is killed, once more: the second time it is the image."""
        try:
            try:
                return await self._run_once(job)
            except ProcessKilled:
                if self._closed:
                    raise
                return await self._run_once(job)
        finally:
            self._load.waiting -= 1
            self._places.give_back()

    def _ran(self, task: "asyncio.Task[Decoded]") -> None:
        """Forget a task, and its error, for which perhaps nobody waits any more."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def _run_once(self, job: DecodingJob) -> Decoded:
        process = await self._free_process()
        try:
            return await process.decode(job)
        finally:
            self._give_back(process)

    async def _start_one(self) -> None:
        """Start a process for whoever comes next, in a place of its own meanwhile."""
        async with self._places.hold(wait_s=lambda: 0.0) as free:
            with suppress(DecoderUnavailable):
                if free:
                    self._give_back(await self._free_process())

    async def _free_process(self) -> DecodingProcess:
        process = self._idle.pop() if self._idle else await DecodingProcess.start(self._image_bytes)
        process.ended = self._forget
        self._busy.add(process)
        if self._closed:  # meanwhile
            process.close()
        # For the client that comes beside one that has all the other places.
        if not self._idle and len(self._busy) == self._places.capacity - 1:
            self._warming = asyncio.create_task(self._start_one(), context=Context())
        return process

    def _give_back(self, process: DecodingProcess) -> None:
        if process in self._busy and process.usable:
            self._idle.append(process)
        self._busy.discard(process)
        if self._retiring is None and not self._closed:
            self._retiring = asyncio.get_running_loop().call_later(IDLE_S, self._retire)

    def _forget(self, process: DecodingProcess) -> None:
        self._busy.discard(process)
        if process in self._idle:
            self._idle.remove(process)

    def _retire(self) -> None:
        """End what has been idle for long; the one that was used last stays, or a fresh one if it
        has grown.
        """
        self._retiring = None
        since_s = time.monotonic() - IDLE_S
        for process in [each for each in self._idle if each.used_s < since_s]:
            if process is not self._idle[-1] or process.memory_bytes > LARGE_BYTES:
                self._idle.remove(process)
                process.kill()
        if not self.count:
            self._warming = asyncio.ensure_future(self.warm_up())
        elif self._busy or any(each.used_s >= since_s for each in self._idle):
            self._retiring = asyncio.get_running_loop().call_later(IDLE_S, self._retire)

    def _longest_s(self, asked_s: float | None) -> float:
        """The longest wait for a process: the deadline, but without a setting no less than one
        image may take. It grows while slow images are decoded.
        """
        longest_s = max(self._patience_s, self._load.deadline_s)
        return longest_s if asked_s is None else min(asked_s, longest_s)

    def _overloaded(self, asked_s: float | None) -> Overloaded:
        deadline_s = self._longest_s(asked_s)
        wait_s = max(self._load.wait_s, deadline_s)
        return Overloaded(wait_s=wait_s, deadline_s=deadline_s, clears_s=wait_s)


def process_limit(settings: Settings) -> int:
    """How many processes: two for each core, so that they get on while a batch is inferred on all
    cores, as far as the memory has a share for the largest image in each.
    """
    share_bytes = ROOM_BYTES + PIXEL_BYTES * settings.max_pixels
    return max(1, min(2 * usable_cores(), settings.decode_memory_bytes // share_bytes))
