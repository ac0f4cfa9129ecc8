"""The ASGI application of a front: what `FrontLane` did not take.

It asks the main process about an image before the rest of its body is read, and passes everything
else on.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from monitoring.api.body_budget import BodyBudget, Hold
from monitoring.errors import BodiesFull, BodyTimeout
from serving.error_table import error_answer
from serving.errors import ClientGone
from serving.fronts.front_images import FrontImages
from serving.fronts.main_link import ImageExchange, MainLink, Reply
from serving.fronts.messages import ImageAdmitted, ImageAnswered, ImageSent, RefusalSent
from serving.fronts.relay import replayed
from serving.http.prediction_path import PREFIX
from serving.http.protocol import FastPath, take_fast_path
from serving.http.request import RequestHead, read_body
from serving.settings import Settings

BODY_SHARE: Final = (
    4  # all fronts together may hold a quarter of the budget for bodies, beside the main process
)
CLOSE: Final = (b"connection", b"close")
JSON_TYPE: Final = b"application/json"


@dataclass(frozen=True, slots=True)
class _Work:
    """One image on its way: its head, what is sent of it, and how it is read and answered."""

    head: RequestHead
    image: ImageSent
    fast_path: FastPath
    receive: Receive


class FrontApp:
    """Answers with what the main process says. While `draining`, each answer closes its
    connection.
    """

    def __init__(self, settings: Settings, *, images: FrontImages, link: MainLink) -> None:
        self._settings, self._images, self._link = settings, images, link
        self._bodies = BodyBudget(
            settings.body_budget_bytes // (BODY_SHARE * settings.front_count),
            wait_s=settings.deadline_s or settings.body_timeout_s,
        )
        self._relay: ASGIApp = link.relay
        self.draining = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request. Not a coroutine function itself, because each one would slow down
        every answer.
        """
        fast_path = take_fast_path(scope)
        work = None if fast_path is None else self._work(scope, receive, fast_path)
        return (
            self._relay(scope, receive, send) if work is None else self._predict(work, scope, send)
        )

    def _work(self, scope: Scope, receive: Receive, fast_path: FastPath) -> _Work | None:
        """The image of a request that this front can decode, None for any other request."""
        path = scope["path"]
        if (
            scope["method"] not in ("POST", "PUT")
            or not path.startswith(PREFIX)
            or scope["query_string"]
        ):
            return None
        if self._settings.traces:
            return None
        found = self._images.read(path, scope["headers"])
        return None if found is None else _Work(*found, fast_path, receive)

    async def _predict(self, work: _Work, scope: Scope, send: Send) -> None:
        try:
            reply, body = await self._answer(work)
        except ClientGone:
            return
        except (BodiesFull, BodyTimeout) as error:
            answer = error_answer(error)
            self._link.count_refusal(answer.code)
            reply = RefusalSent(0, answer.status, list(answer.headers), answer.body(), close=False)
        if reply is None:
            await self._relay(scope, replayed(body, work.receive), send)
        elif isinstance(reply, ImageAnswered):
            if not work.fast_path.answer(reply.body, media_type=JSON_TYPE, close=self.draining):
                await self._send(send, 200, [], reply.body, close=self.draining)
        else:
            work.fast_path.discard()
            await self._send(
                send, reply.status, reply.headers, reply.body, close=reply.close or self.draining
            )

    async def _answer(self, work: _Work) -> tuple[ImageAnswered | RefusalSent | None, bytes]:
        """The last reply to an image; None and the body if the main process must decode it."""
        arrived = work.fast_path.body()
        with self._link.image() as exchange:
            work.image.number = exchange.number
            reply: Reply | None = self._images.input(work.image)
            if reply is None or arrived is None:  # ask before the body is read
                reply = await work.fast_path.wait(exchange.ask(work.image))
            data = b""
            if isinstance(reply, ImageAdmitted):
                length_bytes = work.head.length_bytes if arrived is None else len(arrived)
                async with self._bodies.hold(length_bytes, wait_s=work.head.deadline_s) as hold:
                    data = await self._read(work.receive, hold) if arrived is None else arrived
                    reply = await self._exchange(work, data, exchange, reply)
        if isinstance(reply, RefusalSent):
            self._images.forget_input(work.image)
        return reply, data

    async def _exchange(
        self, work: _Work, data: bytes, exchange: ImageExchange, admitted: ImageAdmitted
    ) -> ImageAnswered | RefusalSent | None:
        """Send the pixels, once more if the model wants another input by now."""
        while True:
            await self._link.connection.writable()
            image = self._images.decode(work.image, data, admitted)
            if image is None:
                return None
            reply = await work.fast_path.wait(exchange.ask(image))
            if not isinstance(reply, ImageAdmitted):
                return reply
            admitted = reply

    async def _read(self, receive: Receive, hold: Hold) -> bytes:
        limit_bytes, timeout_s = self._images.limit_bytes, self._settings.body_timeout_s
        try:
            return await read_body(receive, limit_bytes=limit_bytes, timeout_s=timeout_s, hold=hold)
        except ClientGone:
            self._link.count_refusal("client_gone")
            raise

    async def _send(
        self,
        send: Send,
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        *,
        close: bool,
    ) -> None:
        headers = [
            (b"content-type", JSON_TYPE),
            *headers,
            (b"content-length", str(len(body)).encode()),
            *([CLOSE] if close else []),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
