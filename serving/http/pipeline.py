"""The way of an image through a version: admission, decoding, queue, answer, shadow.

The hot route, lists of images and the Open Inference Protocol all use it, so admission, ledger and
metrics are the same for them.

With CANDOR_TRACES its stages (decode, queue, inference, commit) are spans in the trace of a
request. They run in threads and for whole batches, so that a span is made when its stage is over.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from hosting.caller import Caller
from hosting.errors import MalformedRequest
from hosting.settings import Settings
from model_store.errors import ImageError
from model_store.image import FrameChoice, InputSpec, is_dicom
from model_store.image.frames import DecodedFrames
from monitoring.patient_id import read_patient
from serving.decoding.decoder import Decoder
from serving.deployment.loaded_models import ShadowRunner
from serving.http.items import ImageItem, items_of
from serving.inference.answer import kind_of
from serving.inference.batcher import AnswerWriter, Image, PendingRequest
from serving.inference.explanation import HeatMap, OcclusionExplainer, with_explanation
from serving.inference.metrics import ServingMetrics
from serving.inference.prediction import Prediction
from serving.inference.served_version import ServedVersion


class StageSpans:
    """Makes the spans; does nothing without `traces`."""

    def __init__(self, *, traces: bool) -> None:
        self._tracer: Any = None
        if traces:
            from opentelemetry.trace import get_tracer

            self._tracer = get_tracer("candor")

    @contextmanager
    def decoding(self, served: ServedVersion) -> Iterator[None]:
        """Add the span of what is decoded within it."""
        begun_s = time.perf_counter()
        try:
            yield
        finally:
            self.add(served, decode=(begun_s, time.perf_counter()))

    def add(self, served: ServedVersion, **stages: tuple[float, float]) -> None:
        """Add a span for each stage, which began and ended then by perf_counter."""
        if self._tracer is None:
            return
        offset_ns = time.time_ns() - time.perf_counter_ns()
        about = {"candor.model": served.card.name, "candor.version": served.card.version}
        for name, (start_s, end_s) in stages.items():
            begun_ns = offset_ns + round(start_s * 1e9)
            span = self._tracer.start_span(name, start_time=begun_ns, attributes=about)
            span.end(offset_ns + round(end_s * 1e9))


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
        self._reads_patients = settings.patient_from_dicom
        self.spans = StageSpans(traces=settings.traces)
        self.decoder = Decoder(settings, metrics.decode.observe)

    async def warm_up(self) -> None:
        """Start what would make the first image wait."""
        await self.decoder.warm_up()

    def close(self) -> None:
        """End the decoding processes and the threads."""
        self.decoder.close()
        self._occluder.close()

    async def answer(
        self,
        served: ServedVersion,
        item: ImageItem,
        *,
        arrived_s: float,
        caller: Caller,
        deadline_s: float | None = None,
    ) -> bytes:
        """The JSON answer for one encoded image. Raises ImageError, Overloaded or ClientGone.

        `deadline_s`: the longest wait that the client accepts, in seconds.
        """
        served.load.admit(deadline_s)
        with served.load:
            answer: bytes = await caller.wait(
                self._decode_and_infer(served, item, arrived_s, deadline_s)
            )
        return answer

    async def answer_explained(
        self,
        served: ServedVersion,
        item: ImageItem,
        *,
        of: str,
        arrived_s: float,
        caller: Caller,
        deadline_s: float | None = None,
        frame: FrameChoice | None = None,
    ) -> tuple[bytes, int]:
        """The answer with a heat map in its field `explanation`, and the number of the frame that
        it is of. `of`: the class or finding that the map explains, as `column_of` takes it. An
        answer without confidence has nothing to explain.

        Raises what `answer` and OcclusionExplainer raise. Whatever may refuse the explanation does
        so before the answer is recorded.
        """
        column = kind_of(served.card).column_of(of)
        served.load.admit(deadline_s)
        explained: tuple[bytes, int] = await caller.wait(
            self._explained(served, item, column, arrived_s, deadline_s, frame)
        )
        return explained

    async def _explained(
        self,
        served: ServedVersion,
        item: ImageItem,
        column: int | None,
        arrived_s: float,
        deadline_s: float | None,
        frame: FrameChoice | None,
    ) -> tuple[bytes, int]:
        async with self._occluder.place(served.card, served.folder) as explain:
            with served.load:
                image, number, item = await self._decoded(served, item, frame, deadline_s)
                answer: bytes = await self._queued(served, image, item, arrived_s)
            said = json.loads(answer)
            if said.get("predicted", said.get("findings")) is None:
                return answer, number
            if column is None:
                column = served.card.classes.index(said["predicted"])
            shown = await explain(image, column, item.tags)
        return with_explanation(answer, method="occlusion", shown=shown), number

    async def answer_frames(
        self,
        served: ServedVersion,
        item: ImageItem,
        frame: FrameChoice,
        *,
        caller: Caller,
        deadline_s: float | None = None,
    ) -> tuple[list[Any], range]:
        """The answers for the chosen frames of one encoded image, as of `answer_many`, and their
        numbers.

        With "all" the request ids are numbered like the frames. Raises ImageError, Overloaded,
        MalformedRequest or ClientGone.
        """
        served.load.admit(deadline_s)
        with served.load:
            frames, item = await caller.wait(self._decoded_frames(served, item, frame, deadline_s))
        answers = await self.answer_many(
            served, items_of(frames, item, frame), caller=caller, deadline_s=deadline_s
        )
        return answers, frames.numbers

    async def try_out(
        self,
        served: ServedVersion,
        image: Image,
        *,
        explain: str | None = None,
        tags: str | None = None,
    ) -> tuple[Prediction, HeatMap | None]:
        """The answer for (C, H, W) uint8 that is not recorded, and a heat map of the class or
        finding `explain`.

        Raises what `answer_explained` raises.
        """
        column = None if explain is None else kind_of(served.card).column_of(explain)
        served.load.admit()
        prediction = await served.try_out(image, tags=tags)
        if explain is None:
            return prediction, None
        async with self._occluder.place(served.card, served.folder) as draw:
            if column is None:  # that of the predicted class
                column = served.card.classes.index(next(iter(prediction.claims)))
            return prediction, await draw(image, column, tags)

    async def answer_many(
        self,
        served: ServedVersion,
        items: Sequence[ImageItem],
        *,
        caller: Caller,
        writer: AnswerWriter | None = None,
        deadline_s: float | None = None,
    ) -> list[Any]:
        """The answers for `items` in order; an exception takes the place of a failed one.

        The list is admitted as a whole and then processed one batch at a time. This bounds memory,
        and single requests get their turn. Raises Overloaded or ClientGone.
        """
        served.load.admit(deadline_s)
        answers = await caller.wait(self._in_batches(served, items, writer))
        for answer in answers:
            if writer is None and isinstance(answer, Exception):  # else the first one is raised
                served.count_failure(answer)
        return answers

    async def decode_many(self, images: Sequence[bytes | Image], spec: InputSpec) -> list[Image]:
        """All as (C, H, W) uint8. Raises ImageError, or MalformedRequest for one of several."""
        decoded: list[Any] = []
        for start in range(0, len(images), self._max_batch):
            batch = images[start : start + self._max_batch]
            work = [self.decoder.decode_in_turn(image, spec) for image in batch]
            decoded += await asyncio.gather(*work, return_exceptions=True)
        for index, image in enumerate(decoded):
            if isinstance(image, ImageError) and len(images) > 1:
                raise MalformedRequest(f"image {index}: {image}") from image
            if isinstance(image, BaseException):
                raise image
        return decoded

    async def identified(
        self, item: ImageItem, spec: InputSpec, deadline_s: float | None = None
    ) -> ImageItem:
        """The item with the patient that its DICOM file names, if the settings say so."""
        data = item.sound
        known = not self._reads_patients or item.patient is not None
        if known or isinstance(data, np.ndarray) or not is_dicom(data):
            return item
        patient = await self.decoder.patient_of(data, spec, deadline_s=deadline_s)
        with suppress(ValueError):  # what cannot be an identifier
            return replace(item, patient=read_patient(patient))
        return item

    async def _in_batches(
        self, served: ServedVersion, items: Sequence[ImageItem], writer: AnswerWriter | None
    ) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(items), self._max_batch):
            batch = items[start : start + self._max_batch]
            served.load.waiting += len(batch)
            try:
                work = [self._answer_in_turn(served, item, writer) for item in batch]
                answers += await asyncio.gather(*work, return_exceptions=True)
            finally:
                served.load.waiting -= len(batch)
        return answers

    async def _answer_in_turn(
        self, served: ServedVersion, item: ImageItem, writer: AnswerWriter | None
    ) -> Any:
        arrived_s = time.perf_counter()
        with served.decoding, self.spans.decoding(served):
            image = await self.decoder.decode_in_turn(item.sound, served.spec)
            item = await self.identified(item, served.spec)
        return await self._queued(served, image, item, arrived_s, writer)

    async def _decode_and_infer(
        self, served: ServedVersion, item: ImageItem, arrived_s: float, deadline_s: float | None
    ) -> Any:
        image, _, item = await self._decoded(served, item, None, deadline_s)
        return await self._queued(served, image, item, arrived_s)

    async def _decoded_frames(
        self, served: ServedVersion, item: ImageItem, frame: FrameChoice, deadline_s: float | None
    ) -> tuple[DecodedFrames, ImageItem]:
        spec = served.spec
        with served.decoding, self.spans.decoding(served):
            frames = await self.decoder.decode_frames(
                item.encoded, spec, frame, deadline_s=deadline_s
            )
            return frames, await self.identified(item, spec, deadline_s)

    async def _decoded(
        self,
        served: ServedVersion,
        item: ImageItem,
        frame: FrameChoice | None,
        deadline_s: float | None,
    ) -> tuple[Image, int, ImageItem]:
        """The image, or its chosen frame, its number, and the item with its patient."""
        if frame is not None:
            frames, item = await self._decoded_frames(served, item, frame, deadline_s)
            return frames.pixels[0], frames.first, item
        spec = served.spec
        with served.decoding, self.spans.decoding(served):
            image = await self.decoder.decode(item.encoded, spec, deadline_s=deadline_s)
            return image, 1, await self.identified(item, spec, deadline_s)

    async def _queued(
        self,
        served: ServedVersion,
        image: Image,
        item: ImageItem,
        arrived_s: float,
        writer: AnswerWriter | None = None,
    ) -> Any:
        """Queue the image, or give the recorded answer to its idempotency key."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        request = PendingRequest(
            *(image, item.request_id, arrived_s, future, writer),
            tags=item.tags,
            patient=item.patient,
        )
        if item.key is None:
            return await self._submit(served, request)
        return await served.retries.once(item.key, request, partial(self._submit, served, request))

    async def _submit(self, served: ServedVersion, request: PendingRequest) -> Any:
        begun_s = time.perf_counter()
        served.submit(request)
        try:
            answer = await request.answer
        finally:
            if (inferred := request.inference) is not None:
                self.spans.add(
                    served,
                    queue=(begun_s, inferred[0]),
                    inference=inferred,
                    commit=(inferred[1], time.perf_counter()),
                )
        if (shadow := self._shadow_of(served)) is not None:
            self._shadow.run(shadow, request)
        return answer
