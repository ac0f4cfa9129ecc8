"""The picture of an occlusion map: the image, the map over it, a scale in probability, and what it
shows in a sentence.

The colors are scaled to the largest value, but never to less than `LEAST_SCALE`. So a map on which
no part matters much stays pale instead of showing noise in full color.
"""

import io
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from calibration.wording import points
from serving.inference.batcher import Image

Values = npt.NDArray[np.float64]

MATTERS: Final = 0.05  # change of probability below which a part does not matter much
LEAST_SCALE: Final = 0.2  # so that a change that does not matter has at most a quarter of the color
SIDE: Final = 448  # pixels of the image's shorter side in the picture, at least
OPAQUE: Final = 0.65  # share of the color where the map is strongest
RED, BLUE = (214, 39, 40), (31, 84, 196)
MARGIN, BAR, LINE = (
    150,
    24,
    20,
)  # pixels: width beside the image, width of the scale, height of a line of text
TITLE: Final = ("probability lost", "when covered")
NOTHING: Final = "No part of the image matters much."


@dataclass(frozen=True)
class HeatMap:
    """An occlusion map of a class or finding: its values, its picture (PNG) and its sentence."""

    of: str
    values: Values
    png: bytes
    sentence: str


def heat_map(values: Values, image: Image, *, of: str) -> HeatMap:
    """The map of `values`, (R, C), probability of `of` lost, over `image`, (C, H, W) uint8."""
    return HeatMap(of, values, _picture(values, image), sentence(values, of=of))


def sentence(values: Values, *, of: str) -> str:
    """What the map shows.

    >>> sentence(np.array([[0.31, -0.02]]), of="Edema")
    'Covering a red part lowers the probability of Edema by up to 31.0 points.'
    >>> sentence(np.array([[0.012, -0.02]]), of="Edema")
    'No part of the image matters much. Covering one changes the probability of Edema by at most 2.0
    points.'
    """
    most, least = float(values.max()), float(values.min())
    if max(most, -least) < MATTERS:
        change = points(max(most, -least))
        return f"{NOTHING} Covering one changes the probability of {of} by at most {change}."
    lowers = f"Covering a red part lowers the probability of {of} by up to {points(most)}."
    raises = f"Covering a blue part raises the probability of {of} by up to {points(-least)}."
    return " ".join(
        text for text, change in ((lowers, most), (raises, -least)) if change >= MATTERS
    )


def _picture(values: Values, image: Image) -> bytes:
    limit = max(float(np.abs(values).max()), LEAST_SCALE)
    beneath = _enlarged(image)
    height, width = beneath.shape[:2]
    over = Pillow.fromarray((values / limit).astype(np.float32)).resize(
        (width, height), Pillow.Resampling.BILINEAR
    )
    canvas = Pillow.new("RGB", (width + MARGIN, height + 2 * LINE), "white")
    canvas.paste(Pillow.fromarray(_blend(beneath, np.asarray(over))), (0, 0))
    _draw_scale(canvas, left=width + 16, height=height, limit=limit)
    if np.abs(values).max() < MATTERS:
        ImageDraw.Draw(canvas).text(
            (8, height + LINE // 2), NOTHING, fill="black", font=ImageFont.load_default(16)
        )
    stream = io.BytesIO()
    canvas.save(stream, format="PNG")
    return stream.getvalue()


def _enlarged(image: Image) -> npt.NDArray[np.float64]:
    """The image in color, (H, W, 3), large enough to look at."""
    pixels = np.repeat(image, 3, axis=0) if image.shape[0] == 1 else image
    factor = max(1, math.ceil(SIDE / min(image.shape[1:])))
    shown = Pillow.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return (
        np.asarray(
            shown.resize((shown.width * factor, shown.height * factor), Pillow.Resampling.BICUBIC)
        )
        / 1.0
    )


def _blend(
    beneath: npt.NDArray[np.float64], strength: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Lay red for positive and blue for negative strengths, -1..1 and (H, W), over the image."""
    share = OPAQUE * np.abs(strength)[..., np.newaxis]
    color = np.where(strength[..., np.newaxis] > 0, RED, BLUE)
    return np.round((1 - share) * beneath + share * color).astype(np.uint8)


def _draw_scale(canvas: Pillow.Image, *, left: int, height: int, limit: float) -> None:
    """Draw the color of every value in -limit..limit, over gray, with three figures."""
    top, bottom = 2 * LINE + 20, height - 12
    strength = np.repeat(
        np.linspace(1, -1, bottom - top, dtype=np.float32)[:, np.newaxis], BAR, axis=1
    )
    gray = np.full((*strength.shape, 3), 128.0)
    canvas.paste(Pillow.fromarray(_blend(gray, strength)), (left, top))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for line, text in enumerate(TITLE):
        pen.text((left, 4 + line * LINE), text, fill="black", font=font)
    most = f"{round(100 * limit)} points"
    for text, at in ((f"+{most}", top), ("0", (top + bottom) // 2), (f"-{most}", bottom)):
        pen.text((left + BAR + 8, at), text, fill="black", font=font, anchor="lm")
