"""One socket between a front and the main process: each message with its length before it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from serving.fronts.messages import Message

logger = logging.getLogger(__name__)

LENGTH_BYTES: Final = 4
LIMIT_BYTES: Final = 2**28  # of one message: pixels of an input, or a part of a body
BUFFER_BYTES: Final = 4 * 2**20  # that may wait to be sent before `writable` waits
_ENCODER: Final = msgspec.msgpack.Encoder()


class FrameConnection(asyncio.Protocol):
    """Sends messages, and passes those that arrive to `handle`. After its end, it calls `lost`, and
    sends nothing.
    """

    def __init__(
        self,
        decoder: "msgspec.msgpack.Decoder[Any]",
        *,
        handle: Callable[[Any], None],
        lost: Callable[[], None],
    ) -> None:
        self._decoder, self._handle, self._lost = decoder, handle, lost
        self._buffer = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._paused: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports have no base in common
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES)  # type: ignore[union-attr]

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._transport = None
        self.resume_writing()
        self._lost()

    def data_received(self, data: bytes) -> None:
        """Handle every message that is complete."""
        self._buffer += data
        for message in self._complete():
            try:
                self._handle(message)
            except (
                Exception
            ):  # the edge of the connection: one message must not end those of others
                logger.exception("a message between front and main process failed")

    def send(self, message: Message) -> None:
        """Send `message`, unless the connection has ended."""
        if self._transport is not None:
            body = _ENCODER.encode(message)
            self._transport.write(len(body).to_bytes(LENGTH_BYTES, "big") + body)

    @property
    def is_full(self) -> bool:
        """Whether the other side has yet to take most of what was sent."""
        return self._paused is not None

    async def writable(self) -> None:
        """Wait until the other side has taken most of what was sent."""
        while self._paused is not None:
            await asyncio.shield(self._paused)

    def pause_writing(self) -> None:
        """See asyncio."""
        self._paused = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """See asyncio."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.set_result(None)

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _complete(self) -> list[Any]:
        messages: list[Any] = []
        at, held = 0, len(self._buffer)
        with memoryview(self._buffer) as view:
            while held - at >= LENGTH_BYTES:
                start = at + LENGTH_BYTES
                length = int.from_bytes(view[at:start], "big")
                if length > LIMIT_BYTES:
                    self._abort("a message of more than 256 MiB")
                    return []
                if held < start + length:
                    break
                at = start + length
                try:
                    messages.append(self._decoder.decode(view[start:at]))
                except msgspec.MsgspecError as error:
                    self._abort(str(error))
                    return []
        del self._buffer[:at]
        return messages

    def _abort(self, reason: str) -> None:
        logger.error(
            "the other side of a front sent what is no message",
            extra={"fields": {"reason": reason}},
        )
        self.close()
