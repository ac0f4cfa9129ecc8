"""A front's connection to the main process: numbers images and requests, and passes on what comes
back for them.
"""

import asyncio
import itertools
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeAlias

from starlette.types import Receive, Scope, Send

from serving.fronts.connection import FrameConnection
from serving.fronts.messages import (
    TO_FRONT,
    FrontDrain,
    FrontSetup,
    Heartbeat,
    ImageAdmitted,
    ImageAnswered,
    ImageGone,
    ImageSent,
    RefusalSent,
    RefusedHere,
    ToFront,
)
from serving.fronts.relay import RelayedRequest

Reply: TypeAlias = ImageAdmitted | ImageAnswered | RefusalSent


class MainLink:
    """Sends to the main process. `drain` is called when that ends, `lost` when the connection does.

    `renew` gets each setup, the first too.
    """

    def __init__(
        self,
        *,
        drain: Callable[[], None],
        lost: Callable[[], None],
        renew: Callable[[FrontSetup], None],
    ) -> None:
        self._drain, self._renew = drain, renew
        self._numbers = itertools.count(1)
        self._listeners: dict[int, Callable[[Reply], None]] = {}
        self._requests: dict[int, RelayedRequest] = {}
        self.connection = FrameConnection(TO_FRONT, handle=self._handle, lost=lost)

    async def relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the main process answer a request."""
        number = self.next_number()
        request = self._requests[number] = RelayedRequest(self.connection, number, receive, send)
        try:
            await request.run(scope)
        finally:
            del self._requests[number]

    def image(self) -> "ImageExchange":
        """A new image. Use it in `with`."""
        return ImageExchange(self, self.next_number())

    def count_refusal(self, code: str) -> None:
        """Let the main process count a request that this front refused by itself."""
        self.connection.send(RefusedHere(code))

    def next_number(self) -> int:
        """The number of a new image or request."""
        return next(self._numbers)

    def listen(self, number: int, listener: Callable[[Reply], None]) -> None:
        """Call `listener` with the next reply to an image."""
        self._listeners[number] = listener

    def forget(self, number: int) -> None:
        """Wait no longer for the reply to an image, and say so."""
        self._listeners.pop(number, None)
        self.connection.send(ImageGone(number))

    def _handle(self, message: ToFront) -> None:
        if isinstance(message, ImageAnswered | ImageAdmitted | RefusalSent):
            if (listener := self._listeners.pop(message.number, None)) is not None:
                listener(message)
        elif isinstance(message, Heartbeat):
            self.connection.send(message)
        elif isinstance(message, FrontSetup):
            self._renew(message)
        elif isinstance(message, FrontDrain):
            self._drain()
        elif (request := self._requests.get(message.number)) is not None:
            request.handle(message)


class ImageExchange:
    """One image and its replies. If `with` ends before the last of them, the main process forgets
    the image.
    """

    __slots__ = ("_link", "_open", "number")

    def __init__(self, link: MainLink, number: int) -> None:
        self._link, self.number = link, number
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the image."""
        if self._open:
            self._link.forget(self.number)

    async def ask(self, image: ImageSent) -> Reply:
        """Send the image, or the question whether to, and wait for the reply."""
        self._open = True
        replied: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._link.listen(
            image.number, lambda reply: None if replied.done() else replied.set_result(reply)
        )
        self._link.connection.send(image)
        reply = await replied
        self._open = isinstance(reply, ImageAdmitted)
        return reply
