"""Occlusion maps: how much of a class's or a finding's probability is lost when a part of the image
is covered.

Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014, section 3. A
gray patch moves over the image, and each position costs one inference. So explanations have their
own session and thread, at the lowest priority, and run one at a time.

The picture shows the image, the map over it, a scale in probability, and what it shows in a
sentence. The colors are scaled to the largest value, but never to less than `LEAST_SCALE`. So a map
on which no part matters much stays pale instead of showing noise in full color.
"""

import asyncio
import base64
import io
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from calibration.wording import points
from hosting.errors import ExplanationsBusy, ExplanationUnavailable, ModelUnusable
from model_store.bundle.bundle import read_bundle
from model_store.bundle.card import Card
from model_store.errors import BundleError
from serving.inference.batcher import Image, lower_priority
from serving.inference.predictor import Predictor

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


POSITIONS: Final = 8  # cells along each side of the image
SPAN: Final = 2  # cells that a patch covers along each side
BATCH: Final = 8
Explain: TypeAlias = Callable[[Image, int, str | None], Awaitable[HeatMap]]


class OcclusionExplainer:
    """Explains one image at a time; up to `waiting` more may queue."""

    def __init__(self, *, waiting: int = 4) -> None:
        self._free = waiting + 1
        self._pool = ThreadPoolExecutor(
            1, thread_name_prefix="candor-explain", initializer=lower_priority
        )
        self._predictors: dict[Path, Predictor] = {}

    @asynccontextmanager
    async def place(self, card: Card, folder: Path) -> AsyncIterator[Explain]:
        """A place in the queue, and a function that draws a map there.

        The function takes an image, (C, H, W) uint8, a column and tags, and returns the map by the
        version in `folder`. What may be refused is refused here: raises ExplanationsBusy, or
        ExplanationUnavailable if the folder no longer holds that version.
        """
        if self._free == 0:
            raise ExplanationsBusy
        self._free -= 1
        work: list[Future[Any]] = [self._pool.submit(self._predictor, card, folder)]
        try:
            predictor = await asyncio.wrap_future(work[0])

            async def explain(image: Image, column: int, tags: str | None) -> HeatMap:
                work.append(self._pool.submit(_explain, predictor, image, column, tags))
                return cast(HeatMap, await asyncio.wrap_future(work[-1]))

            yield explain
        finally:
            # Of a client that hangs up, work that has begun goes on, and keeps its place.
            asyncio.wrap_future(work[-1]).add_done_callback(self._release)

    def close(self) -> None:
        """End the thread after the current explanation."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _release(self, work: "asyncio.Future[Any]") -> None:
        self._free += 1
        if not work.cancelled():
            work.exception()  # retrieved, even if nobody waits any more

    def _predictor(self, card: Card, folder: Path) -> Predictor:
        if folder not in self._predictors:
            self._predictors = {folder: _open(folder, card)}  # keeps only the one used last
        return self._predictors[folder]


def _explain(predictor: Predictor, image: Image, column: int, tags: str | None) -> HeatMap:
    values = importance(predictor, image, column, tags=tags)
    return heat_map(values, image, of=predictor.card.classes[column])


def _open(folder: Path, card: Card) -> Predictor:
    """A predictor on the bundle, read again: explanations are rare, graphs are large."""
    try:
        bundle = read_bundle(folder)
        if bundle.card != card:
            raise ExplanationUnavailable(
                "the version answers but cannot be explained, because its folder now holds "
                "another version."
            )
        return Predictor(bundle, threads=1, device="cpu")
    except (BundleError, ModelUnusable) as error:
        raise ExplanationUnavailable(
            "the version answers but cannot be explained, because its bundle can no longer be "
            f"read: {error}"
        ) from error


def importance(
    predictor: Predictor, image: Image, column: int, *, tags: str | None = None
) -> npt.NDArray[np.float64]:
    """Loss of the probability in a `column` of the graph's output when each cell is covered,
    (POSITIONS, POSITIONS), for an image with `tags`.

    A cell's value is the mean over the patches that cover it. It is positive if the image supports
    the class or finding.
    """
    covered, boxes = _covered(image)
    by = predictor.calibrators.of(tags)
    whole = float(by(predictor.predict(image[np.newaxis]))[0, column])
    batches = (covered[start : start + BATCH] for start in range(0, len(covered), BATCH))
    lost = np.concatenate([whole - by(predictor.predict(batch))[:, column] for batch in batches])
    total, count = np.zeros((POSITIONS, POSITIONS)), np.zeros((POSITIONS, POSITIONS))
    for value, (row, column) in zip(lost, boxes, strict=True):
        total[row : row + SPAN, column : column + SPAN] += value
        count[row : row + SPAN, column : column + SPAN] += 1
    return total / count


def _covered(image: Image) -> tuple[Image, list[tuple[int, int]]]:
    """The image with the patch at P positions, (P, C, H, W), and each patch's first cell."""
    rows = np.linspace(0, image.shape[1], POSITIONS + 1).round().astype(int)
    columns = np.linspace(0, image.shape[2], POSITIONS + 1).round().astype(int)
    boxes = [
        (row, column)
        for row in range(POSITIONS - SPAN + 1)
        for column in range(POSITIONS - SPAN + 1)
    ]
    gray = image.mean(axis=(1, 2)).round().astype(np.uint8)[:, np.newaxis, np.newaxis]
    covered = np.repeat(image[np.newaxis], len(boxes), axis=0)
    for each, (row, column) in zip(covered, boxes, strict=True):
        each[:, rows[row] : rows[row + SPAN], columns[column] : columns[column + SPAN]] = gray
    return covered, boxes


def with_explanation(answer: bytes, *, method: str, shown: HeatMap) -> bytes:
    """An answer with `explanation`: class or finding, sentence, values, and a PNG in base64."""
    values = [[round(value, 4) for value in row] for row in shown.values.tolist()]
    fields: dict[str, Any] = {"method": method, "of": shown.of, "sentence": shown.sentence}
    fields["values"] = values
    fields["png"] = base64.b64encode(shown.png).decode()
    return answer[:-1] + b',"explanation":%s}' % json.dumps(fields).encode()
