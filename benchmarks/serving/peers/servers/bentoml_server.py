"""BentoML: a batched service with the model, and a front that takes one image."""

from __future__ import annotations

from pathlib import Path

import bentoml
import numpy as np
from model import MAX_BATCH, Model, decode


@bentoml.service(workers=1, traffic={"timeout": 120})
class Batched:
    """The model."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000)
    def infer(self, images: np.ndarray) -> list[dict]:
        """A batch."""
        return self.model(list(images))


@bentoml.service(workers=1, traffic={"timeout": 120})
class Classifier:
    """Takes the image as a file of a form."""

    batched = bentoml.depends(Batched)

    @bentoml.api
    async def predict(self, image: Path) -> dict:
        """One image."""
        return (await self.batched.to_async.infer(decode(image.read_bytes())[None]))[0]
