"""Decodes images one after another in this thread, with the limits that the server has."""

from functools import partial
from typing import Final

import numpy as np

from model_store.image import DecodedFrames, FrameChoice, InputSpec, decode_plain
from serving.decoding.memory import MemoryBudget
from serving.decoding.pool import STANDING_BYTES, TRIES
from serving.decoding.process import (
    Decoded,
    DecodingJob,
    DecodingProcess,
    DecodingTarget,
    ProcessKilled,
    ProcessLost,
)
from serving.errors import DecoderUnavailable
from serving.inference.batcher import Image
from serving.settings import Settings

WAIT_S: Final = 1.0  # for memory that nobody else has


class BlockingDecoder:
    """A plain PNG is decoded here, any other one in a process that may be killed."""

    def __init__(self, settings: Settings) -> None:
        self._max_pixels, self._cpu_s = settings.max_pixels, settings.decode_cpu_s
        self._memory = MemoryBudget(
            max(STANDING_BYTES, settings.decode_memory_bytes - STANDING_BYTES)
        )
        self._process: DecodingProcess | None = None

    def decode(self, data: bytes, spec: InputSpec) -> Image:
        """`data` as (C, H, W) uint8. Raises model_store's ImageError, or DecoderUnavailable."""
        plain = decode_plain(data, spec, max_pixels=self._max_pixels)
        if plain is not None:
            return plain
        image = self._in_process(data, spec, DecodingTarget())
        assert isinstance(image, np.ndarray)
        return image

    def decode_frame(self, data: bytes, spec: InputSpec, frame: FrameChoice) -> tuple[Image, int]:
        """The chosen frame of `data`, (C, H, W) uint8, and its number from 1.

        Raises NoSuchFrame, and TooManyFrames for "all" of several; otherwise as `decode`.
        """
        found = self._in_process(data, spec, DecodingTarget(frame))
        assert isinstance(found, DecodedFrames)
        return found.pixels[0], found.first

    def _in_process(self, data: bytes, spec: InputSpec, wanted: DecodingTarget) -> Decoded:
        reserve = partial(self._memory.reserve, timeout_s=WAIT_S)
        limit_bytes = self._memory.capacity_bytes
        job = DecodingJob(data, spec, self._max_pixels, self._cpu_s, limit_bytes, reserve, wanted)
        killed = False
        for _ in range(TRIES):
            process = self._running()
            try:
                return process.decode(job)
            except ProcessLost:
                self.close()
            except ProcessKilled:
                if killed:
                    raise
                killed = True
        raise DecoderUnavailable("no decoding process stays alive here.")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _running(self) -> DecodingProcess:
        if self._process is None or not self._process.alive():
            self.close()
            try:
                self._process = DecodingProcess()
            except OSError as error:
                raise DecoderUnavailable(
                    f"no decoding process can be started here ({error.strerror})."
                ) from error
        return self._process
