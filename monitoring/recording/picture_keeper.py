"""`PictureKeeper`: a thread that keeps pictures of answers, beside the recorder and never in its
way.

An answer does not wait for its picture. While the ledger is busy or away, or more images come than
are encoded, pictures are left out; labels are then given by the id of the image.
"""

import io
import logging
import threading
from queue import Empty, Full, Queue
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from sqlalchemy.exc import SQLAlchemyError

from monitoring.ledger.database import Ledger
from monitoring.ledger.pictures import Picture, keep_pictures

_log = logging.getLogger(__name__)
LIMIT_BYTES: Final = 2**30  # of all pictures together; the oldest make room
_WAITING: Final = 64
_GATHER_S: Final = 0.5  # so that a busy server writes them in few transactions

Pixels = npt.NDArray[np.uint8]


class PictureKeeper:
    """Keeps the pictures that it is given for `days`, and `limit_bytes` of them in all."""

    def __init__(self, ledger: Ledger, *, days: float, limit_bytes: int = LIMIT_BYTES) -> None:
        self._ledger, self._limit_bytes = ledger, limit_bytes
        self._kept_ns = round(days * 86_400e9)
        self._queue: Queue[tuple[bytes, Pixels]] = Queue(_WAITING)
        self._ending = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="candor-pictures", daemon=True)

    def offer(self, prediction_id: bytes, pixels: Pixels) -> None:
        """Keep the picture of an answer, (C, H, W), if there is time for it. Never blocks."""
        try:
            self._queue.put_nowait((prediction_id, pixels))
        except Full:
            return

    def __enter__(self) -> "PictureKeeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ending.wait(_GATHER_S):
            self._keep()
        self._keep()

    def _keep(self) -> None:
        found = [Picture(prediction_id, as_png(pixels)) for prediction_id, pixels in self._taken()]
        if not found:
            return
        expires_at_ns = self._ledger.clock() + self._kept_ns
        try:
            with self._ledger.write() as connection:
                keep_pictures(
                    connection, found, expires_at_ns=expires_at_ns, limit_bytes=self._limit_bytes
                )
        except SQLAlchemyError as error:
            if not self._failed:
                _log.warning("pictures of answers are not kept now: %s", error)
            self._failed = True
        else:
            self._failed = False

    def _taken(self) -> list[tuple[bytes, Pixels]]:
        taken: list[tuple[bytes, Any]] = []
        while len(taken) < _WAITING:
            try:
                taken.append(self._queue.get_nowait())
            except Empty:
                break
        return taken


def as_png(pixels: Pixels) -> bytes:
    """The model's input, (C, H, W) with one channel or three, as PNG without any metadata."""
    gray = pixels.shape[0] == 1 or bool(
        (pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all()
    )
    image = Image.fromarray(pixels[0] if gray else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
