"""A large body of known length is read by the system straight into its place, past the parser."""

import asyncio

import numpy as np
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from monitoring.http.body_budget import FIRST_BYTES, Hold
from serving.errors import ClientGone


class LargeBodyReader(asyncio.BufferedProtocol):
    """Reads the rest of one body, of which `begun` has arrived, and nothing beyond it."""

    def __init__(
        self, connection: HttpToolsProtocol, begun: bytes | bytearray, length_bytes: int, hold: Hold
    ) -> None:
        self._connection, self._hold = connection, hold
        self._body = np.empty(length_bytes, np.uint8).data
        self._begun_bytes = self._received = len(begun)
        self._body[: len(begun)] = begun
        self._wanted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._until = 0

    async def read(self, *, timeout_s: float) -> None:
        """Wait for the last byte. Raises BodyTimeout, BodiesFull or ClientGone. Then the
        connection's protocol reads again.
        """
        late = f"the body did not arrive within {timeout_s:g} s; send it again, in one go."
        try:
            async with self._hold.reading(timeout_s, late=late):
                await self._read_until(FIRST_BYTES)
                await self._hold.cover(self._received)
                await self._read_until(len(self._body))
        finally:
            if not self._connection.transport.is_closing():
                self._let_read(self._connection)

    async def _read_until(self, until: int) -> None:
        if self._received < until:
            self._until = until
            self._wanted = asyncio.get_running_loop().create_future()
            self._let_read(self)
            await self._wanted

    def give_away(self) -> tuple[memoryview, memoryview]:
        """The body and what was read here. Keeps nothing: uvloop keeps the last reader."""
        body, self._body = self._body, memoryview(b"")
        return body, body[self._begun_bytes : self._received]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes belong."""
        return self._body[self._received : self._until]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what was read; after the last byte that is wanted, read no more."""
        self._received += nbytes
        self._hold.received_bytes = self._received
        if self._received == self._until:
            self._connection.flow.pause_reading()
            if not self._wanted.done():
                self._wanted.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected, or the server closes the connection."""
        self._connection.connection_lost(exc)
        if not self._wanted.done():
            self._wanted.set_exception(
                ClientGone("the client disconnected before its body was complete.")
            )

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def _let_read(self, protocol: asyncio.BaseProtocol) -> None:
        """Have `protocol` read from now on. Paused meanwhile: uvloop would go on for the former."""
        self._connection.flow.pause_reading()
        self._connection.transport.set_protocol(protocol)
        self._connection.flow.resume_reading()
