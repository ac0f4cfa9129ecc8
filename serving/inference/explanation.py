"""Occlusion maps: how much of a class's or a finding's probability is lost when a part of the image
is covered.

Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014, section 3. A
gray patch moves over the image, and each position costs one inference. So explanations have their
own session and thread, at the lowest priority, and run one at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from model_store.bundle.bundle import read_bundle
from model_store.bundle.card import Card
from model_store.errors import BundleError
from serving.errors import ExplanationsBusy, ExplanationUnavailable, ModelUnusable
from serving.inference.batcher import Image, lower_priority
from serving.inference.heat_map import HeatMap, heat_map
from serving.inference.predictor import Predictor

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
        whole = read_bundle(folder)
        variants = map(whole.of_variant, whole.card.precisions)
        bundle = next((each for each in variants if each.card == card), None)
        if bundle is None:
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
