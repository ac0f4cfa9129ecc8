"""What both transports share: find a model, describe it, infer."""

from collections.abc import Sequence
from dataclasses import replace

from serving.deployment.loaded_models import LoadedModels
from serving.errors import MalformedRequest
from serving.http.fast_path import Caller
from serving.http.items import ImageItem, items_of, with_keys
from serving.http.pipeline import InferencePipeline
from serving.http.request import RequestHead
from serving.inference.batcher import Image
from serving.inference.served_version import ServedVersion
from serving.settings import Settings
from serving.v2.bodies import ModelMetadata, TensorMetadata
from serving.v2.tensors import (
    INPUT,
    InferenceRequest,
    OutputTensor,
    TensorAnswerWriter,
    outputs,
    outputs_of,
    properties_of,
    read_images,
    request_ids,
)

PLATFORM = "candor_onnxruntime"


class InferenceService:
    """The protocol's operations on the loaded models."""

    def __init__(
        self, *, models: LoadedModels, pipeline: InferencePipeline, settings: Settings
    ) -> None:
        self.models = models
        self._pipeline = pipeline
        self._limit = settings.max_items

    def metadata(self, model: str, version: str | None) -> ModelMetadata:
        card = self.models.find(model, version).card
        spec = card.input
        return ModelMetadata(
            name=card.name,
            versions=[str(number) for number in self.models.by_name()[model].answering],
            platform=PLATFORM,
            inputs=[TensorMetadata(INPUT, "UINT8", [-1, spec.channels, spec.height, spec.width])],
            outputs=[
                TensorMetadata(name, each.datatype, [-1] if each.size is None else [-1, each.size])
                for name, each in outputs_of(card).items()
            ],
            properties=properties_of(card),
        )

    async def infer(
        self, served: ServedVersion, asked: InferenceRequest, head: RequestHead, caller: Caller
    ) -> list[OutputTensor]:
        """The outputs for a request's images, or for the chosen frames of its only one.

        One bad image fails all: the protocol has no errors of single images. Of several, one that
        the scope check refuses has no confidence instead: each says whether it is in scope.
        """
        card, spec = served.card, served.card.input.spec
        images = read_images(asked.inputs, card, limit=self._limit)
        outputs([], card, wanted=asked.wanted)  # refuse an unknown one before anything is computed
        identity, patient = asked.id or head.request_id, asked.patient or head.patient
        if asked.frame is None:
            ids = request_ids(identity, len(images))
            with self._pipeline.spans.decoding(served):
                pixels = await self._pipeline.decode_many(images, spec)
            sent = [ImageItem(image, tags=head.tags, patient=patient) for image in images]
            items = [
                replace(
                    await self._pipeline.identified(item, spec), data=image, request_id=request_id
                )
                for item, image, request_id in zip(sent, pixels, ids, strict=True)
            ]
            items = with_keys(items, head.once)
        else:
            item = ImageItem(
                _sole(images), identity, tags=head.tags, patient=patient, key=head.once
            )
            with self._pipeline.spans.decoding(served):
                frames = await self._pipeline.decoder.decode_frames(
                    item.encoded, spec, asked.frame, deadline_s=head.deadline_s
                )
            item = await self._pipeline.identified(item, spec, head.deadline_s)
            items = items_of(frames, item, asked.frame)
        results = await self._pipeline.answer_many(
            served, items, caller=caller, writer=TensorAnswerWriter(), deadline_s=head.deadline_s
        )
        for result in results:
            if isinstance(result, Exception):
                raise result
        if len(results) == 1 and (verdict := results[0].verdict) and verdict.refusal:
            raise verdict.refusal
        return outputs(results, card, wanted=asked.wanted)


def _sole(images: Sequence[bytes | Image]) -> bytes:
    """The only image, encoded. Raises MalformedRequest."""
    if len(images) != 1 or not isinstance(images[0], bytes):
        raise MalformedRequest("the parameter `frame` is for a single encoded image (BYTES).")
    return images[0]
