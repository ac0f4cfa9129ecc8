"""The usual request without a task: a small image for POST /predictions whose bytes arrived
together with its head.

Everything unusual is left to `PredictionApp`, as if it had not been looked at: any refusal, a list,
a form, a large image, a body that is still on its way. So this knows no error but those that come
after an image is queued.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from serving.deployment.loaded_models import LoadedModels
from serving.http.app import PredictionApp
from serving.http.auth import BROWSER_HEADERS, AccessControl
from serving.http.direct_exchange import DirectExchange
from serving.http.pipeline import InferencePipeline
from serving.http.prediction_path import PREFIX, split_path
from serving.http.request import LISTS, read_head
from serving.inference.batcher import PendingRequest
from serving.inference.direct_answer import DirectAnswer
from serving.inference.metrics import ServingMetrics
from serving.inference.served_version import ServedVersion
from serving.settings import Settings

Headers = Sequence[tuple[bytes, bytes]]


class DirectLane:
    """Answers requests on the event loop. `predictions` does what is unusual, and says how to
    refuse.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        access: AccessControl,
        models: LoadedModels,
        pipeline: InferencePipeline,
        predictions: PredictionApp,
        metrics: ServingMetrics,
    ) -> None:
        self._access, self._models, self._pipeline = access, models, pipeline
        self._predictions, self._metrics = predictions, metrics
        self._limit_bytes = settings.max_body_bytes
        self._refusing: set[asyncio.Task[None]] = set()

    def take(self, exchange: DirectExchange, path: str, headers: Headers, body: bytes) -> bool:
        """Queue the image in `body`, so that `exchange` gets its answer.

        Returns False, having done nothing, if anything is unusual. `path` is that of a POST or PUT
        without a query.
        """
        arrived_s = time.perf_counter()
        try:
            self._access.check_program(headers, "predict")
            head = read_head(headers, limit_bytes=self._limit_bytes)
            if head.media_type in LISTS or not BROWSER_HEADERS.isdisjoint(
                name for name, _ in headers
            ):
                return False
            served = self._models.find(*split_path(path), canary=head.canary)
            served.queue.admit(head.deadline_s)
            image = self._pipeline.decode_cheap(body, served.spec)
        except Exception:  # noqa: BLE001  whatever it is, the usual way meets it again, answers it and counts it
            return False
        if image is None:
            return False
        answer = DirectAnswer()
        request = PendingRequest(image, head.request_id, arrived_s, answer, None, head.tags)
        answer.receive = partial(self._deliver, exchange, served, request)
        exchange.left = answer.cancel
        served.take_lease()
        served.queue.waiting += 1
        served.submit(request)
        return True

    def _deliver(
        self,
        exchange: DirectExchange,
        served: ServedVersion,
        request: PendingRequest,
        answer: Any,
        error: Exception | None,
    ) -> None:
        served.queue.waiting -= 1
        served.end_lease()
        if error is not None:
            task = asyncio.ensure_future(self._refuse(exchange, served.card.name, error))
            self._refusing.add(task)
            task.add_done_callback(self._refusing.discard)
        elif answer is None:
            self._metrics.rejected.labels("client_gone").inc()
        else:
            exchange.answer(answer, close=self._predictions.draining)
            self._pipeline.shadow(served, request)

    async def _refuse(self, exchange: DirectExchange, model: str, error: Exception) -> None:
        answer, close = await self._predictions.settle(f"{PREFIX}{model}", error)
        exchange.answer(
            answer.body(),
            status=answer.status,
            phrase=answer.phrase.encode(),
            headers=answer.headers,
            close=close,
        )
