"""A large body of known length is read by the system straight into its place, past the parser."""

import asyncio

import numpy as np
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from monitoring.errors import BodyTimeout
from serving.errors import ClientGone


class LargeBodyReader(asyncio.BufferedProtocol):
    """Reads the rest of one body, of which `begun` has arrived, and nothing beyond it."""

    def __init__(
        self, connection: HttpToolsProtocol, begun: bytes | bytearray, length_bytes: int
    ) -> None:
        self._connection = connection
        self._body = np.empty(length_bytes, np.uint8).data
        self._begun_bytes = self._received = len(begun)
        self._body[: len(begun)] = begun
        self._complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(self, *, timeout_s: float) -> None:
        """Wait for the last byte. Raises BodyTimeout or ClientGone. Then the connection's protocol
        reads again.
        """
        self._let_read(self)
        try:
            async with asyncio.timeout(timeout_s):
                await self._complete
        except TimeoutError:
            raise BodyTimeout(
                f"the body did not arrive within {timeout_s:g} s; send it again, in one go."
            ) from None
        finally:
            if not self._connection.transport.is_closing():
                self._let_read(self._connection)

    def give_away(self) -> tuple[memoryview, memoryview]:
        """The body and, of it, what was read here. Nothing is kept: uvloop keeps a connection's
        last reader.
        """
        body, self._body = self._body, memoryview(b"")
        return body, body[self._begun_bytes : self._received]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes belong."""
        return self._body[self._received :]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what was read; after the last byte, read no more."""
        self._received += nbytes
        if self._received == len(self._body):
            self._connection.flow.pause_reading()
            if not self._complete.done():
                self._complete.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected, or the server closes the connection."""
        self._connection.connection_lost(exc)
        if not self._complete.done():
            self._complete.set_exception(
                ClientGone("the client disconnected before its body was complete.")
            )

    def pause_writing(self) -> None:
        """See asyncio."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio."""
        self._connection.resume_writing()

    def _let_read(self, protocol: asyncio.BaseProtocol) -> None:
        """Have `protocol` read from now on. Paused meanwhile, because uvloop goes on reading for
        the one before.
        """
        self._connection.flow.pause_reading()
        self._connection.transport.set_protocol(protocol)
        self._connection.flow.resume_reading()
