"""Encoded image to model input, each image on its own, before any batch: a bad one harms no neighbor.

A small image is decoded where it stands, on the event loop; handing it to a thread would cost more than
decoding it. A large one goes to a small pool, whose own queue is bounded by time as the model's is.
"""

import asyncio
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor

from PIL import Image as Pillow

from model_store.image import FORMATS, InputSpec, decode, is_dicom
from serving.inference.admission import QueueEstimate
from serving.inference.batcher import Image
from serving.inference.metrics import ServingMetrics

# A body this short cannot hold more than some four million pixels in any format, 20 ms of work at the very
# worst.
TINY_BYTES = 2048
# About 1.5 ms of JPEG decoding.
SMALL_PIXELS = 512 * 512


class Decoder:
    """Decodes small images at once and large ones in threads."""

    def __init__(self, *, max_pixels: int, deadline_s: float, metrics: ServingMetrics) -> None:
        self._max_pixels = max_pixels
        self._deadline_s = deadline_s
        self._metrics = metrics
        self._queue = QueueEstimate()
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="candor-decode")

    async def decode(self, data: bytes, spec: InputSpec) -> Image:
        """`data` as (C, H, W) uint8; raises model_store's ImageError, or Overloaded by large images waiting."""
        started_s = time.perf_counter()
        if is_small(data):
            image = decode(data, spec, max_pixels=self._max_pixels)
        else:
            image = await self._decode_in_thread(data, spec)
        self._metrics.decode.observe(time.perf_counter() - started_s)
        return image

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _decode_in_thread(self, data: bytes, spec: InputSpec) -> Image:
        self._queue.admit(self._deadline_s)
        arrived_s = time.perf_counter()
        loop = asyncio.get_running_loop()
        with self._queue:
            try:
                return await loop.run_in_executor(self._pool, lambda: decode(data, spec, max_pixels=self._max_pixels))
            finally:
                self._queue.delivered(1, arrived_s=arrived_s, now_s=time.perf_counter())


def is_small(data: bytes) -> bool:
    """Whether decoding takes so little time that it may hold up the event loop. Reads the image's header at most.

    DICOM never does: its header alone takes a millisecond to read, and the first file brings pydicom with it.
    """
    if is_dicom(data):
        return False
    if len(data) <= TINY_BYTES:
        return True
    try:
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.width * image.height <= SMALL_PIXELS
    except (OSError, ValueError, SyntaxError):
        # Not readable, or a bomb: `decode` says so in its own words, and in a thread, since who knows what it
        # takes.
        return False
