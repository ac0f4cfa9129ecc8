"""How long a batch waits for images that are being decoded.

Decoding and inference want the same cores. If a batch begins as soon as one image is decoded, it is
small, costs more for each image, and slows the decoding of the others down. So it waits for them,
but only as long as that may pay.
"""

from typing import Final

PER_IMAGE: Final = 2.0  # times the inference of one image, for each image that waits
LONGEST_S: Final = 0.25


class BatchingDelay:
    """Counts the images of a version that are being decoded: `with delay:` around each, on the
    event loop.

    The inference thread asks `left_s`.
    """

    def __init__(self, one_image_s: float) -> None:
        """`one_image_s`: the inference time of one image, in seconds."""
        self._one_image_s = one_image_s
        self._coming = 0

    def __enter__(self) -> None:
        self._coming += 1

    def __exit__(self, *_: object) -> None:
        self._coming -= 1

    def left_s(self, images: int, waited_s: float) -> float:
        """Seconds that `images`, which have waited for `waited_s`, still wait for others; 0 if none
        is coming.
        """
        if not self._coming:
            return 0.0
        return max(0.0, min(PER_IMAGE * self._one_image_s * images, LONGEST_S) - waited_s)
