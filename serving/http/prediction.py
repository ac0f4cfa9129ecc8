"""The hot route, POST /predictions/{model}[/{version}], as a bare ASGI application in front of the
other routes.

It uses no framework, no validation library and one future per request, because for tiny models
these would dominate the cost of an answer.
"""

import asyncio
import time
from collections.abc import Awaitable
from functools import partial
from typing import Final
from urllib.parse import unquote

from anyio import to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from hosting.auth import Refuse
from hosting.caller import Caller, read_body
from hosting.error_table import ErrorAnswer, error_answer, log_error
from hosting.errors import ClientGone, MalformedRequest, Overloaded, ServingError
from hosting.settings import Settings
from monitoring.http.body_budget import BodyBudget
from monitoring.http.endpoint import JSON, wants_page
from monitoring.http.json_body import SMALL_BYTES
from serving.deployment.loaded_models import LoadedModels
from serving.http.items import NDJSON, ImageItem, read_items, with_keys, write_answers, write_frames
from serving.http.pipeline import InferencePipeline
from serving.http.request import (
    LISTS,
    PredictionQuery,
    RequestHead,
    read_head,
    read_query,
)
from serving.inference.admission import RefusalThrottle
from serving.inference.answer import JSON_HEADER
from serving.inference.metrics import ServingMetrics
from serving.inference.served_version import ServedVersion

PREFIX: Final = "/predictions/"
REFUSAL_HOLD_S: Final = 0.5  # by which a 429 is delayed, so that clients do not retry at once
REFUSAL_LIMIT: Final = 1024  # 429s that are delayed at a time; further ones end the connection
CLOSE = (b"connection", b"close")
NDJSON_HEADER = (b"content-type", NDJSON.encode())


class PredictionApp:
    """Answers predictions and passes other requests to `rest`. While `draining`, each answer closes
    its connection. `error_page` answers a browser that access control refuses.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        models: LoadedModels,
        pipeline: InferencePipeline,
        rest: ASGIApp,
        error_page: Refuse,
        metrics: ServingMetrics,
        bodies: BodyBudget,
    ) -> None:
        self._settings = settings
        self._bodies = bodies
        self._models = models
        self._pipeline = pipeline
        self._rest = rest
        self._error_page = error_page
        self._metrics = metrics
        self._throttle = RefusalThrottle(hold_s=REFUSAL_HOLD_S, limit=REFUSAL_LIMIT)
        self._reading = asyncio.Lock()
        self.draining = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request. No coroutine function: another one would slow down each answer."""
        if (
            scope["type"] == "http"
            and scope["path"].startswith(PREFIX)
            and scope["method"] in ("POST", "PUT")
        ):
            return self._predict(scope, receive, send)
        return self._rest(scope, receive, send)

    async def refuse(self, scope: Scope, receive: Receive, send: Send, error: ServingError) -> None:
        """Answer a request that the access control refuses, and has logged."""
        answer = error_answer(error)
        self._metrics.rejected.labels(answer.code).inc()
        scope.setdefault("state", {})["error"] = answer.code
        if wants_page(scope) and not self.draining:
            await self._error_page(scope, receive, send, error)
        else:
            await self._answer_refused(send, answer, close=self.draining)

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived_s = time.perf_counter()
        try:
            head = read_head(scope["headers"], limit_bytes=self._settings.max_body_bytes)
            answer = await self._answer(scope, head, receive, arrived_s)
        except ClientGone:
            self._metrics.rejected.labels("client_gone").inc()
        except Exception as error:  # noqa: BLE001  the edge of the request: the table of errors decides what the client sees
            await self._refuse(scope, send, error)
        else:
            header = NDJSON_HEADER if head.media_type == NDJSON else JSON_HEADER
            await self._send(send, 200, answer, headers=[header], close=self.draining)

    async def _answer(
        self, scope: Scope, head: RequestHead, receive: Receive, arrived_s: float
    ) -> bytes:
        caller = Caller(receive)
        asked = read_query(scope["query_string"])
        served = self._models.find(*split_path(scope["path"]), canary=head.canary, key=head.key)
        scope.setdefault("state", {})["served"] = served
        with served.lease():
            # Checked before the body is read and again after it, because other requests arrive
            # meanwhile.
            served.load.admit(head.deadline_s)
            async with self._bodies.hold(
                head.length_bytes, copies=head.copies, wait_s=head.deadline_s
            ) as hold:
                with served.decoding.arrival():
                    data = await read_body(
                        receive,
                        limit_bytes=self._settings.max_body_bytes,
                        timeout_s=self._settings.body_timeout_s,
                        hold=hold,
                    )
                items = with_keys(await self._items(data, head), head.once)
                if len(items) == 1 and head.media_type not in (JSON, NDJSON):
                    return await self._one(served, items[0], asked, head, caller, arrived_s)
                if asked.frame is not None:
                    raise MalformedRequest("?frame= is for a request with one file.")
                answers = await self._pipeline.answer_many(
                    served, items, caller=caller, deadline_s=head.deadline_s
                )
                return write_answers(answers, items, media_type=head.media_type)

    async def _one(
        self,
        served: ServedVersion,
        item: ImageItem,
        asked: PredictionQuery,
        head: RequestHead,
        caller: Caller,
        arrived_s: float,
    ) -> bytes:
        """The answer to one image: as it is, explained, or of chosen frames."""
        if asked.explain is not None:
            answer, number = await self._pipeline.answer_explained(
                served,
                item,
                of=asked.explain,
                frame=asked.frame,
                arrived_s=arrived_s,
                caller=caller,
                deadline_s=head.deadline_s,
            )
            return answer if asked.frame is None else write_frames([answer], [number], single=True)
        if asked.frame is not None:
            answers, numbers = await self._pipeline.answer_frames(
                served, item, asked.frame, caller=caller, deadline_s=head.deadline_s
            )
            return write_frames(answers, numbers, single=asked.frame != "all")
        return await self._pipeline.answer(
            served, item, arrived_s=arrived_s, caller=caller, deadline_s=head.deadline_s
        )

    async def _items(self, data: bytes, head: RequestHead) -> list[ImageItem]:
        """The images of a body. A long list is read in a thread, one at a time."""
        if head.media_type not in LISTS:
            return [ImageItem(data, head.request_id, tags=head.tags, patient=head.patient)]
        read = partial(read_items, data, head, limit=self._settings.max_items)
        if len(data) <= SMALL_BYTES:
            return read()
        async with self._reading:
            return await to_thread.run_sync(read)

    async def settle(self, path: str, error: Exception) -> tuple[ErrorAnswer, bool]:
        """Count and log a refusal, or delay it if the server is overloaded.

        Returns the answer, and whether the connection ends with it.
        """
        answer = error_answer(error)
        self._metrics.rejected.labels(answer.code).inc()
        if isinstance(error, Overloaded):
            return answer, not await self._throttle.hold() or self.draining
        log_error(path, answer, error)
        return answer, self.draining

    async def _refuse(self, scope: Scope, send: Send, error: Exception) -> None:
        answer, close = await self.settle(scope["path"], error)
        scope.setdefault("state", {})["error"] = answer.code
        await self._answer_refused(send, answer, close=close)

    async def _answer_refused(self, send: Send, answer: ErrorAnswer, *, close: bool) -> None:
        await self._send(
            send, answer.status, answer.body(), headers=[JSON_HEADER, *answer.headers], close=close
        )

    async def _send(
        self,
        send: Send,
        status: int,
        body: bytes,
        *,
        headers: list[tuple[bytes, bytes]],
        close: bool,
    ) -> None:
        headers.append((b"content-length", str(len(body)).encode()))
        if close:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def split_path(path: str) -> tuple[str, str | None]:
    """Model and version of a path that begins with PREFIX; the version may be None."""
    model, slash, version = path[len(PREFIX) :].rstrip("/").partition("/")
    return unquote(model), version if slash else None
