"""The hot route, POST /predictions/{model}[/{version}], as a bare ASGI endpoint before the rare routes.

No framework, no validation library and one future per request, because at tiny models those are what an
answer costs.
"""

import asyncio
import logging
import time
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.admission import Pace
from serving.batcher import Entry
from serving.errors import ClientGone, Failure, Overloaded, failure
from serving.front.answer import JSON_HEADER, error_body
from serving.front.decoding import Decoder
from serving.front.request import Head, read_body, read_head, single_file
from serving.metrics import ServingMetrics
from serving.settings import Settings
from serving.switch import Fleet
from serving.version import ServedVersion

logger = logging.getLogger(__name__)

PREFIX = "/predictions/"
# A wait worth a task that listens for the client's hanging up; below it the answer is there before the task
# has paid for itself.
WATCHED_WAIT_S = 0.05
CLOSE = (b"connection", b"close")


class Front:
    """The ASGI application. `draining` makes every answer the last of its connection."""

    def __init__(self, *, settings: Settings, fleet: Fleet, rest: ASGIApp, metrics: ServingMetrics) -> None:
        self._settings = settings
        self._fleet = fleet
        self._rest = rest
        self._metrics = metrics
        self._pace = Pace(hold_s=settings.refusal_hold_s, limit=settings.refusal_limit)
        self._decoder = Decoder(max_pixels=settings.max_pixels, deadline_s=settings.deadline_s, metrics=metrics)
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith(PREFIX) and scope["method"] in ("POST", "PUT"):
            await self._predict(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    def close(self) -> None:
        """End the decoding threads."""
        self._decoder.close()

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived_s = time.perf_counter()
        try:
            answer = await self._answer(scope, receive, arrived_s)
        except ClientGone:
            self._metrics.rejected.labels("client_gone").inc()
        except Exception as error:  # noqa: BLE001  the request's edge: errors.py knows what to say, and says no more
            await self._refuse(scope, send, error)
        else:
            await self._send(send, 200, answer, close=self.draining)

    async def _answer(self, scope: Scope, receive: Receive, arrived_s: float) -> bytes:
        settings = self._settings
        head = read_head(scope["headers"], limit_bytes=settings.max_body_bytes)
        served = self._fleet.find(*split_path(scope["path"]))
        with served.lease():
            served.load.admit(settings.deadline_s)
            data = await read_body(receive, limit_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)
            if head.media_type == "multipart/form-data":
                data = single_file(data, head.content_type)
            # Again, and this time it counts: others have come while the body did.
            served.load.admit(settings.deadline_s)
            with served.load:
                return await self._infer(served, data, head, receive, arrived_s)

    async def _infer(self, served: ServedVersion, data: bytes, head: Head, receive: Receive, arrived_s: float) -> bytes:
        image = await self._decoder.decode(data, served.card.input.spec)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        served.submit(Entry(image, head.request_id, arrived_s, answer))
        if served.load.wait_s < WATCHED_WAIT_S:
            return await answer
        return await answer_or_gone(answer, receive)

    async def _refuse(self, scope: Scope, send: Send, error: Exception) -> None:
        failed = failure(error)
        self._metrics.rejected.labels(failed.code).inc()
        headers: list[tuple[bytes, bytes]] = []
        close = self.draining
        if isinstance(error, Overloaded):
            headers.append((b"retry-after", str(error.retry_after_s).encode()))
            close = not await self._pace.hold() or close
        else:
            _log(scope, failed, error)
        await self._send(send, failed.status, error_body(failed), headers=headers, close=close)

    async def _send(
        self,
        send: Send,
        status: int,
        body: bytes,
        *,
        headers: list[tuple[bytes, bytes]] | None = None,
        close: bool = False,
    ) -> None:
        sent = [JSON_HEADER, (b"content-length", str(len(body)).encode()), *(headers or ())]
        if close:
            sent.append(CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": body})


def split_path(path: str) -> tuple[str, str | None]:
    """Model and version of a path that begins with PREFIX; the version is None where the path names none."""
    model, slash, version = path[len(PREFIX) :].rstrip("/").partition("/")
    return unquote(model), version if slash else None


async def answer_or_gone(answer: "asyncio.Future[bytes]", receive: Receive) -> bytes:
    """Await `answer`; when the client hangs up first, cancel it (the batcher then drops it) and raise ClientGone."""
    watch = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait((answer, watch), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        raise ClientGone("the client hung up before its answer was ready.")
    finally:
        watch.cancel()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _log(scope: Scope, failed: Failure, error: Exception) -> None:
    """One line a request; a trace only where it is the server that is wrong."""
    fields = {
        "path": scope["path"][:200],
        "status": failed.status,
        "error": failed.code,
        "detail": failed.detail,
    }
    if failed.code == "internal_error":
        logger.error("request failed", extra={"fields": fields}, exc_info=error)
    else:
        logger.info("request refused", extra={"fields": fields})
