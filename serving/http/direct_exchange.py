"""One request that is answered without a task, in place of uvicorn's own object for a request."""

from collections.abc import Callable, Sequence
from typing import Any, Final

HEAD: Final = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"


class _Nobody:
    """The event that no task waits for."""

    def set(self) -> None:
        """Do nothing."""


_NOBODY: Final = _Nobody()


class DirectExchange:
    """The answer to one request of `connection`, a BoundedProtocol.

    `left` is called if the client disconnects first. The other attributes are those that uvicorn's
    protocol reads of the request under way.
    """

    __slots__ = (
        "__weakref__",
        "_connection",
        "disconnected",
        "keep_alive",
        "left",
        "message_event",
        "response_complete",
    )

    def __init__(self, connection: Any, *, keep_alive: bool) -> None:
        self._connection = connection
        self.keep_alive = keep_alive
        self.left: Callable[[], None] | None = None
        self.message_event = _NOBODY
        self.disconnected = self.response_complete = False

    def disconnect(self) -> None:
        """The client has disconnected."""
        self.disconnected = True
        left, self.left, self._connection = self.left, None, None
        if left is not None:
            left()

    def answer(
        self,
        body: bytes,
        *,
        close: bool,
        status: int = 200,
        phrase: bytes = b"OK",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Answer in a single write."""
        connection, self._connection, self.left = (
            self._connection,
            None,
            None,
        )  # no circle is left behind
        if connection is None:
            return
        self.response_complete = True
        keep_alive = self.keep_alive and not close
        head = HEAD % (status, phrase, len(body))
        for header in (*headers, *connection.server_state.default_headers):
            head += b"%b: %b\r\n" % header
        connection.transport.write(
            b"%b%b\r\n%b" % (head, b"" if keep_alive else b"connection: close\r\n", body)
        )
        if not keep_alive:
            connection.transport.close()
        connection.on_response_complete()
