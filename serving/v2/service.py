"""What both transports share: find a model, describe it, infer."""

from collections.abc import Sequence

from model_store.image import FrameChoice
from serving.deployment.loaded_models import LoadedModels
from serving.errors import MalformedRequest
from serving.http.caller import Caller
from serving.http.items import ImageItem
from serving.http.pipeline import InferencePipeline, items_of
from serving.inference.batcher import Image
from serving.inference.served_version import ServedVersion
from serving.settings import Settings
from serving.v2.bodies import ModelMetadata, TensorMetadata
from serving.v2.tensors import (
    INPUT,
    OUTPUTS,
    InputTensor,
    OutputTensor,
    TensorAnswerWriter,
    output_shape,
    outputs,
    read_images,
    request_ids,
)

PLATFORM = "candor_onnxruntime"


class InferenceService:
    """The protocol's operations on the loaded models."""

    def __init__(
        self, *, models: LoadedModels, pipeline: InferencePipeline, settings: Settings
    ) -> None:
        self._models = models
        self._pipeline = pipeline
        self._limit = settings.max_items

    def find(self, model: str, version: str | None, *, canary: bool | None = None) -> ServedVersion:
        """The version that answers; an empty one, as gRPC sends it, counts as none."""
        return self._models.find(model, version or None, canary=canary)

    def metadata(self, model: str, version: str | None) -> ModelMetadata:
        """The model's metadata."""
        card = self.find(model, version).card
        spec = card.input
        return ModelMetadata(
            name=card.name,
            versions=[str(number) for number in self._models.by_name()[model].answering],
            platform=PLATFORM,
            inputs=[TensorMetadata(INPUT, "UINT8", [-1, spec.channels, spec.height, spec.width])],
            outputs=[
                TensorMetadata(name, datatype, output_shape(name, card))
                for name, datatype in OUTPUTS.items()
            ],
        )

    async def infer(
        self,
        served: ServedVersion,
        inputs: Sequence[InputTensor],
        wanted: Sequence[str],
        *,
        identity: str | None,
        tags: str | None,
        caller: Caller,
        deadline_s: float | None = None,
        frame: FrameChoice | None = None,
    ) -> list[OutputTensor]:
        """The outputs for a request's images, or for the chosen frames of its only one.

        One bad image fails all: the protocol has no errors of single images.
        """
        card = served.card
        images = read_images(inputs, card, limit=self._limit)
        outputs([], card, wanted=wanted)  # refuse an unknown output before anything is computed
        if frame is None:
            ids = request_ids(identity, len(images))
            pixels = await self._pipeline.decode_many(images, card.input.spec)
            items = [
                ImageItem(image, request_id, tags=tags)
                for image, request_id in zip(pixels, ids, strict=True)
            ]
        else:
            frames = await self._pipeline.decoder.decode_frames(
                _sole(images), card.input.spec, frame, deadline_s=deadline_s
            )
            items = items_of(frames, ImageItem(b"", identity or None, tags=tags), frame)
        results = await self._pipeline.answer_many(
            served, items, caller=caller, writer=TensorAnswerWriter(), deadline_s=deadline_s
        )
        for result in results:
            if isinstance(result, Exception):
                raise result
        return outputs(results, card, wanted=wanted)


def _sole(images: Sequence[bytes | Image]) -> bytes:
    """The only image, encoded. Raises MalformedRequest."""
    if len(images) != 1 or not isinstance(images[0], bytes):
        raise MalformedRequest("the parameter `frame` is for a single encoded image (BYTES).")
    return images[0]
