"""An image for the viewer of a page, which makes values gray by a window of its own."""

import base64
from typing import Annotated

from msgspec import Meta, Struct

from model_store.image.viewing import Viewing
from serving.http.bodies import Base64


class ViewedImage(Struct, frozen=True, kw_only=True):
    """The values of an image. That of a sample is `offset + slope * sample`, after the file's
    rescale.
    """

    width: Annotated[int, Meta(ge=1, description="pixels")]
    height: Annotated[int, Meta(ge=1, description="pixels")]
    channels: Annotated[int, Meta(description="1 (gray) or 3 (color)")]
    samples: Annotated[
        Base64, Meta(description="rows of pixels of channels, 16 bits each, low byte first")
    ]
    offset: float
    slope: float
    center: Annotated[float, Meta(description="of the window to begin with")]
    window: Annotated[float, Meta(description="its width")]
    inverted: Annotated[bool, Meta(description="whether the lowest value is white")]
    reduced: Annotated[
        int, Meta(ge=1, description="by which factor each side is smaller than the file's")
    ]


def as_viewed(found: Viewing) -> ViewedImage:
    """The image as it is sent."""
    height, width, channels = found.samples.shape
    return ViewedImage(
        width=width,
        height=height,
        channels=channels,
        samples=base64.b64encode(found.samples.astype("<u2").tobytes()).decode(),
        offset=found.offset,
        slope=found.slope,
        center=found.center,
        window=found.width,
        inverted=found.inverted,
        reduced=found.reduced,
    )
