"""Single or simultaneous requests over plain sockets, for everything except throughput."""

import asyncio
import socket
from collections.abc import Sequence
from typing import NamedTuple


class Request(NamedTuple):
    """A POST."""

    path: str
    content_type: str
    body: bytes

    def encode(self) -> bytes:
        """The request's bytes, for a keep-alive connection."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\nContent-Type: "
            f"{self.content_type}\r\n"
        )
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


def ask(port: int, request: Request, *, timeout_s: float = 30.0) -> int | None:
    """The status of the answer, or None if the connection closes without one. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(request.encode())
        return _status(connection.recv(65536))


async def ask_all(
    port: int, requests: Sequence[Request], *, timeout_s: float = 60.0
) -> list[int | None]:
    """The status of each request, all sent at once on connections of their own; None: no answer."""
    return await asyncio.gather(*(_ask(port, request, timeout_s) for request in requests))


async def _ask(port: int, request: Request, timeout_s: float) -> int | None:
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request.encode())
            status = _status(await reader.readline())
            writer.close()
            return status
    except (OSError, TimeoutError):
        return None


def _status(head: bytes) -> int | None:
    return int(head[9:12]) if head.startswith(b"HTTP/1.") else None
