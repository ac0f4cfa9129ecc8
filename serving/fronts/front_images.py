"""Which requests a front decodes the image of, and for which input.

Whatever is not the good case is for the main process: bad headers, a missing token, a broken image,
a list, a form, an explanation, a large image.
"""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from model_store.errors import ImageError
from model_store.image import decode
from monitoring.errors import MonitoringError
from serving.decoding.cheap import SMALL_BYTES, is_cheap
from serving.errors import ServingError
from serving.fronts.messages import ImageAdmitted, ImageSent
from serving.http.auth import BROWSER_HEADERS, AccessControl
from serving.http.prediction_path import split_path
from serving.http.request import LISTS, RequestHead, read_head
from serving.settings import Settings

HINTS_LIMIT: Final = 1000


class FrontImages:
    """Reads the heads of predictions, and decodes their images. Remembers which input each model
    wanted last.
    """

    def __init__(self, settings: Settings, access: AccessControl) -> None:
        self._access, self._max_pixels = access, settings.max_pixels
        self.limit_bytes = min(SMALL_BYTES, settings.max_body_bytes)
        # After a refusal an input is forgotten, so that the next image asks before it is decoded.
        self._inputs: dict[tuple[str, str | None, bool | None], ImageAdmitted] = {}

    def read(
        self, path: str, headers: Sequence[tuple[bytes, bytes]]
    ) -> tuple[RequestHead, ImageSent] | None:
        """The head of a prediction without a query, and its image without pixels. None: for the
        main process.
        """
        arrived_s = time.perf_counter()
        if not BROWSER_HEADERS.isdisjoint(name for name, _ in headers):
            return None
        try:
            self._access.check_program(headers, "predict")
            head = read_head(headers, limit_bytes=self.limit_bytes)
        except (ServingError, MonitoringError):
            return None
        if head.length_bytes is None or head.media_type in LISTS:
            return None
        model, version = split_path(path)
        return head, ImageSent(
            number=0,
            model=model,
            version=version,
            canary=head.canary,
            request_id=head.request_id,
            tags=head.tags,
            deadline_s=head.deadline_s,
            arrived_s=arrived_s,
        )

    def input(self, image: ImageSent) -> ImageAdmitted | None:
        """The input that the model of `image` wanted last, None if that is not known, or it was
        refused since.
        """
        return self._inputs.get((image.model, image.version, image.canary))

    def forget_input(self, image: ImageSent) -> None:
        """`image` was refused."""
        self._inputs.pop((image.model, image.version, image.canary), None)

    def decode(self, image: ImageSent, data: bytes, admitted: ImageAdmitted) -> ImageSent | None:
        """`image` with the pixels that are in `data`. None: for the main process to decode or to
        refuse.
        """
        if not is_cheap(data):
            return None
        started_s = time.perf_counter()
        try:
            pixels = decode(data, admitted.input, max_pixels=self._max_pixels)
        except ImageError:
            return None
        decode_s = time.perf_counter() - started_s
        if len(self._inputs) >= HINTS_LIMIT:
            self._inputs.clear()
        self._inputs[image.model, image.version, image.canary] = admitted
        return msgspec.structs.replace(
            image, pixels=pixels.tobytes(), spec=admitted.spec, decode_s=decode_s
        )
