"""The way of an image through a version: admission, decoding, queue, answer, shadow.

The hot route, lists of images and the Open Inference Protocol all use it, so admission, ledger and
metrics are the same for them.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from model_store.errors import ImageError
from model_store.image import DecodedFrames, FrameChoice, InputSpec
from model_store.image.viewing import Viewing
from monitoring.http.fields import ID_LIMIT
from serving.decoding.channel import Encoded
from serving.decoding.decoder import Decoder
from serving.deployment.shadow import ShadowRunner
from serving.errors import MalformedRequest
from serving.http.caller import Caller
from serving.inference.answer import with_explanation
from serving.inference.batcher import AnswerWriter, Image, PendingRequest
from serving.inference.explanation import OcclusionExplainer
from serving.inference.heat_map import HeatMap
from serving.inference.metrics import ServingMetrics
from serving.inference.predictor import Classification
from serving.inference.served_version import ServedVersion
from serving.settings import Settings


class InferencePipeline:
    """Gets answers for images from a version. Its methods run on the event loop."""

    def __init__(
        self,
        *,
        settings: Settings,
        metrics: ServingMetrics,
        shadow_of: Callable[[ServedVersion], ServedVersion | None],
    ) -> None:
        """`shadow_of` returns the version that shadows another, if any."""
        self._shadow_of = shadow_of
        self._shadow = ShadowRunner(metrics)
        self._occluder = OcclusionExplainer()
        self._max_batch = settings.max_batch
        self._decoder = Decoder(settings, metrics.decode.observe)

    async def warm_up(self) -> None:
        """Start what would make the first image wait."""
        await self._decoder.warm_up()

    def close(self) -> None:
        """End the decoding processes and the threads."""
        self._decoder.close()
        self._occluder.close()

    async def answer(
        self,
        served: ServedVersion,
        data: Encoded,
        *,
        request_id: str | None,
        tags: str | None = None,
        arrived_s: float,
        caller: Caller,
        deadline_s: float | None = None,
    ) -> bytes:
        """The JSON answer for one encoded image. Raises ImageError, Overloaded or ClientGone.

        `deadline_s`: the longest wait that the client accepts, in seconds.
        """
        served.queue.admit(deadline_s)
        with served.queue:
            return await caller.wait(
                self._answer_one(served, data, request_id, tags, arrived_s, deadline_s)
            )

    async def answer_explained(
        self,
        served: ServedVersion,
        data: Encoded,
        *,
        request_id: str | None,
        tags: str | None = None,
        arrived_s: float,
        caller: Caller,
        deadline_s: float | None = None,
        frame: FrameChoice | None = None,
    ) -> tuple[bytes, int]:
        """The answer with a heat map in its field `explanation`, and the number of the frame that
        it is of.

        Raises what `answer` and OcclusionExplainer raise. Whatever may refuse the explanation does
        so before the answer is recorded.
        """
        served.queue.admit(deadline_s)
        async with self._occluder.place(served.card, served.folder) as explain:
            image, number = await self._decoded(served, data, frame, deadline_s)
            with served.queue:
                work = self._infer(
                    served, image, request_id=request_id, tags=tags, arrived_s=arrived_s
                )
                answer: bytes = await caller.wait(work)
            shown = await explain(image, served.card.classes.index(json.loads(answer)["predicted"]))
        return with_explanation(answer, method="occlusion", shown=shown), number

    async def answer_frames(
        self,
        served: ServedVersion,
        data: Encoded,
        frame: FrameChoice,
        *,
        request_id: str | None,
        tags: str | None = None,
        caller: Caller,
        deadline_s: float | None = None,
    ) -> tuple[list[Any], range]:
        """The answers for the chosen frames of one encoded image, as of `answer_many`, and their
        numbers.

        With "all" the request ids are numbered like the frames. Raises ImageError, Overloaded,
        MalformedRequest or ClientGone.
        """
        served.queue.admit(deadline_s)
        found = await caller.wait(self.decode_frames(served, data, frame, deadline_s=deadline_s))
        answers = await self.answer_many(
            served,
            list(found.pixels),
            request_ids=numbered(request_id, found.numbers) if frame == "all" else [request_id],
            tags=[tags] * len(found.pixels),
            caller=caller,
            deadline_s=deadline_s,
        )
        return answers, found.numbers

    async def decode_frames(
        self,
        served: ServedVersion,
        data: Encoded,
        frame: FrameChoice,
        *,
        limit: int | None = None,
        deadline_s: float | None = None,
    ) -> DecodedFrames:
        """The chosen frames as the model's input. Raises ImageError, Overloaded or
        DecoderUnavailable.
        """
        spec = served.card.input.spec
        return await self._decoder.decode_frames(
            data, spec, frame, limit=limit, deadline_s=deadline_s
        )

    async def decode(self, served: ServedVersion, data: bytes) -> Image:
        """One encoded image as the model's input. Raises ImageError, Overloaded or
        DecoderUnavailable.
        """
        return await self._decoder.decode(data, served.card.input.spec)

    async def try_out(
        self, served: ServedVersion, image: Image, *, explained: bool = False
    ) -> tuple[Classification, HeatMap | None]:
        """The answer for (C, H, W) uint8 that is not recorded, and a heat map if asked for.

        Raises what `answer_explained` raises.
        """
        served.queue.admit()
        found = await served.try_out(image)
        if not explained:
            return found, None
        async with self._occluder.place(served.card, served.folder) as explain:
            return found, await explain(image, served.card.classes.index(found.predicted))

    async def view(self, served: ServedVersion, data: bytes, frame: FrameChoice | None) -> Viewing:
        """An encoded image as a viewer needs it, beginning with the window that the version sees.

        Raises ImageError, Overloaded or DecoderUnavailable.
        """
        return await self._decoder.view(data, served.card.input.spec, frame)

    async def answer_many(
        self,
        served: ServedVersion,
        images: Sequence[bytes | Image | Exception],
        *,
        request_ids: Sequence[str | None],
        caller: Caller,
        tags: Sequence[str | None] | None = None,
        writer: AnswerWriter | None = None,
        deadline_s: float | None = None,
    ) -> list[Any]:
        """The answers for `images`, encoded or (C, H, W) uint8, in order; an exception takes the
        place of a failed one.

        The list is admitted as a whole and then processed one batch at a time. This bounds memory,
        and single requests get their turn. Raises Overloaded or ClientGone.
        """
        served.queue.admit(deadline_s)
        work = self._in_batches(served, images, request_ids, tags or [None] * len(images), writer)
        return await caller.wait(work)

    async def decode_many(self, images: Sequence[bytes | Image], spec: InputSpec) -> list[Image]:
        """All `images` as (C, H, W) uint8. Raises ImageError, or MalformedRequest for one of
        several.
        """
        found: list[Image | BaseException] = []
        for start in range(0, len(images), self._max_batch):
            each = [self._pixels(image, spec) for image in images[start : start + self._max_batch]]
            found += await asyncio.gather(*each, return_exceptions=True)
        for index, image in enumerate(found):
            if isinstance(image, ImageError) and len(images) > 1:
                raise MalformedRequest(f"image {index}: {image}") from image
            if isinstance(image, BaseException):
                raise image
        return [image for image in found if not isinstance(image, BaseException)]

    async def _decoded(
        self,
        served: ServedVersion,
        data: Encoded,
        frame: FrameChoice | None,
        deadline_s: float | None,
    ) -> tuple[Image, int]:
        """The image, or its chosen frame, and its number."""
        if frame is None:
            return await self._decoder.decode(
                data, served.card.input.spec, deadline_s=deadline_s
            ), 1
        found = await self.decode_frames(served, data, frame, deadline_s=deadline_s)
        return found.pixels[0], found.first

    async def _answer_one(
        self,
        served: ServedVersion,
        data: Encoded,
        request_id: str | None,
        tags: str | None,
        arrived_s: float,
        deadline_s: float | None,
    ) -> Any:
        with served.decoding:
            image = await self._decoder.decode(data, served.card.input.spec, deadline_s=deadline_s)
        return await self._infer(
            served, image, request_id=request_id, tags=tags, arrived_s=arrived_s
        )

    async def _in_batches(
        self,
        served: ServedVersion,
        images: Sequence[bytes | Image | Exception],
        request_ids: Sequence[str | None],
        tags: Sequence[str | None],
        writer: AnswerWriter | None,
    ) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(images), self._max_batch):
            window = slice(start, start + self._max_batch)
            with _waiting(served, len(images[window])):
                each = [
                    self._answer_item(
                        served, image, request_id=request_id, tags=tagged, writer=writer
                    )
                    for image, request_id, tagged in zip(
                        images[window], request_ids[window], tags[window], strict=True
                    )
                ]
                answers += await asyncio.gather(*each, return_exceptions=True)
        return answers

    async def _answer_item(
        self,
        served: ServedVersion,
        image: bytes | Image | Exception,
        *,
        request_id: str | None,
        tags: str | None,
        writer: AnswerWriter | None,
    ) -> Any:
        if isinstance(image, Exception):
            raise image
        arrived_s = time.perf_counter()
        with served.decoding:
            pixels = await self._pixels(image, served.card.input.spec)
        return await self._infer(
            served, pixels, request_id=request_id, tags=tags, arrived_s=arrived_s, writer=writer
        )

    async def _infer(
        self,
        served: ServedVersion,
        image: Image,
        *,
        request_id: str | None,
        tags: str | None,
        arrived_s: float,
        writer: AnswerWriter | None = None,
    ) -> Any:
        """Queue the image, wait for its answer, then pass the image to the shadow, if there is
        one.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        request = PendingRequest(image, request_id, arrived_s, future, writer, tags)
        served.submit(request)
        answer = await future
        self.shadow(served, request)
        return answer

    def shadow(self, served: ServedVersion, request: PendingRequest) -> None:
        """Pass the image of an answered request to the shadow, if there is one."""
        shadow = self._shadow_of(served)
        if shadow is not None:
            self._shadow.run(shadow, request)

    async def _pixels(self, image: bytes | Image, spec: InputSpec) -> Image:
        return (
            await self._decoder.decode_in_turn(image, spec) if isinstance(image, bytes) else image
        )


def numbered(identity: str | None, numbers: Iterable[int]) -> list[str | None]:
    """The request ids of several images of the request `identity`.

    Raises MalformedRequest if they would be too long for a label to name them.

    >>> numbered("a", range(1, 3)), numbered(None, range(2))
    (['a/1', 'a/2'], [None, None])
    """
    ids = [f"{identity}/{number}" if identity else None for number in numbers]
    longest = len(ids[-1] or "")
    if identity and longest > ID_LIMIT:
        raise MalformedRequest(
            f"the id has {len(identity)} characters, {longest} with the number of an image; use "
            "at most "
            f"{ID_LIMIT - longest + len(identity)} for {len(ids)} images."
        )
    return ids


@contextlib.contextmanager
def _waiting(served: ServedVersion, images: int) -> Iterator[None]:
    """Count `images` as waiting."""
    served.queue.waiting += images
    try:
        yield
    finally:
        served.queue.waiting -= images
