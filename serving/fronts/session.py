"""What the main process does for one front: admits, queues and answers its images, and runs the
other requests.

Images skip ASGI: a task for each would cost as much as their inference does.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from starlette.types import ASGIApp

from model_store.image import InputSpec
from serving.deployment.loaded_models import LoadedModels
from serving.fronts.connection import FrameConnection
from serving.fronts.messages import (
    FROM_FRONT,
    FromFront,
    Heartbeat,
    ImageAdmitted,
    ImageAnswered,
    ImageGone,
    ImageSent,
    RefusalSent,
    RefusedHere,
    RequestOpened,
)
from serving.fronts.relay import RemoteRequest
from serving.http.app import PredictionApp
from serving.http.pipeline import InferencePipeline
from serving.http.prediction_path import PREFIX
from serving.inference.batcher import PendingRequest
from serving.inference.direct_answer import DirectAnswer
from serving.inference.metrics import ServingMetrics
from serving.inference.served_version import ServedVersion

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrontedServer:
    """What all fronts share: the application with its middlewares, and what answers images."""

    app: ASGIApp
    predictions: PredictionApp
    pipeline: InferencePipeline
    models: LoadedModels
    metrics: ServingMetrics
    specs: dict[InputSpec, int] = field(default_factory=dict)

    def number(self, spec: InputSpec) -> int:
        """The number of an input, from 1; the fronts know what they decoded for by it."""
        return self.specs.setdefault(spec, len(self.specs) + 1)


class FrontSession:
    """Answers one front, on the event loop. `lost` is called when its connection ends.

    `is_heard`: whether it has answered a heartbeat. `silent_beats`: how many were sent since it
        last did.
    """

    def __init__(self, server: FrontedServer, *, lost: Callable[[], None]) -> None:
        self._server, self._lost = server, lost
        self._admitted: dict[int, ServedVersion] = {}  # leased for images that are being decoded
        self._waiting: dict[int, DirectAnswer] = {}
        self._requests: dict[int, RemoteRequest] = {}
        self._refusing: set[asyncio.Task[None]] = set()
        self.connection = FrameConnection(FROM_FRONT, handle=self._handle, lost=self._end)
        self.is_heard, self.silent_beats = False, 0

    def beat(self) -> None:
        """Ask whether the front is there."""
        self.silent_beats += 1
        self.connection.send(Heartbeat())

    def _handle(self, message: FromFront) -> None:
        if isinstance(message, ImageSent):
            self._take(message)
        elif isinstance(message, ImageGone):
            self._forget(message.number)
        elif isinstance(message, RefusedHere):
            self._server.metrics.rejected.labels(message.code).inc()
        elif isinstance(message, Heartbeat):
            self.is_heard, self.silent_beats = True, 0
        elif isinstance(message, RequestOpened):
            request = RemoteRequest(self.connection, message, ended=self._requests.__delitem__)
            self._requests[message.number] = request
            request.start(self._server.app)
        elif (found := self._requests.get(message.number)) is not None:
            found.handle(message)

    def _take(self, image: ImageSent) -> None:
        served = self._admitted.pop(image.number, None)
        try:
            if served is None:
                served = self._server.models.find(image.model, image.version, canary=image.canary)
                served.take_lease()
            served.queue.admit(image.deadline_s)
        except Exception as error:  # noqa: BLE001  the edge of the request: the table of errors decides what the client sees
            if served is not None:
                served.end_lease()
            self._refuse(image.number, image.model, error)
            return
        spec = served.spec
        number = self._server.number(spec)
        if image.spec == number:
            self._queue(served, image, spec)
        else:
            self._admitted[image.number] = served
            self.connection.send(ImageAdmitted(image.number, number, spec))

    def _queue(self, served: ServedVersion, image: ImageSent, spec: InputSpec) -> None:
        pixels = np.frombuffer(image.pixels, np.uint8).reshape(
            spec.channels, spec.height, spec.width
        )
        answer = self._waiting[image.number] = DirectAnswer()
        request = PendingRequest(
            pixels, image.request_id, image.arrived_s, answer, None, image.tags
        )
        answer.receive = partial(self._deliver, image.number, served, request)
        self._server.metrics.decode.observe(image.decode_s)
        served.queue.waiting += 1
        served.submit(request)

    def _deliver(
        self,
        number: int,
        served: ServedVersion,
        request: PendingRequest,
        answer: Any,
        error: Exception | None,
    ) -> None:
        del self._waiting[number]
        served.queue.waiting -= 1
        served.end_lease()
        if error is not None:
            self._refuse(number, served.card.name, error)
        elif answer is None:
            self._server.metrics.rejected.labels("client_gone").inc()
        else:
            self.connection.send(ImageAnswered(number, answer))
            self._server.pipeline.shadow(served, request)

    def _refuse(self, number: int, model: str, error: Exception) -> None:
        """Refuse an image as the hot route does, which may take a moment."""
        task = asyncio.ensure_future(self._send_refusal(number, model, error))
        self._refusing.add(task)
        task.add_done_callback(self._refusing.discard)

    async def _send_refusal(self, number: int, model: str, error: Exception) -> None:
        answer, close = await self._server.predictions.settle(f"{PREFIX}{model}", error)
        self.connection.send(
            RefusalSent(number, answer.status, list(answer.headers), answer.body(), close)
        )

    def _forget(self, number: int) -> None:
        if (served := self._admitted.pop(number, None)) is not None:
            served.end_lease()
        if (answer := self._waiting.get(number)) is not None:
            answer.cancel()

    def _end(self) -> None:
        """The front has ended: nobody waits for what it asked."""
        for number in [*self._admitted, *self._waiting]:
            self._forget(number)
        for request in self._requests.values():
            request.lose()
        self._lost()
