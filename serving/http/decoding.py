"""Decodes each image by itself, before it joins a batch, so that a broken image does not affect others.

A small image is decoded on the event loop, because handing it to a thread would take longer. A large one is decoded in
a small pool of threads, whose queue has the same deadline as the model's.
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

# In any format a body this short holds at most about four million pixels: 20 ms of work in the worst case.
TINY_BYTES = 2048
# About 1.5 ms of JPEG decoding.
SMALL_PIXELS = 512 * 512


class DecodingPool:
    """Decodes small images on the event loop and large ones in threads."""

    def __init__(self, *, max_pixels: int, deadline_s: float, metrics: ServingMetrics) -> None:
        self._max_pixels = max_pixels
        self._deadline_s = deadline_s
        self._metrics = metrics
        self._queue = QueueEstimate()
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="candor-decode")

    async def decode(self, data: bytes, spec: InputSpec) -> Image:
        """`data` as (C, H, W) uint8. Raises model_store's ImageError, or Overloaded if too many large images wait."""
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
    """Whether decoding is fast enough for the event loop. Reads at most the image's header.

    DICOM is never small: reading its header takes a millisecond, and the first file imports pydicom.
    """
    if is_dicom(data):
        return False
    if len(data) <= TINY_BYTES:
        return True
    try:
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.width * image.height <= SMALL_PIXELS
    except (OSError, ValueError, SyntaxError):
        # Unreadable or a decompression bomb: `decode` raises the right error, in a thread because it may take long.
        return False
