"""The messages between server and decoding process: a JSON head and bytes, over a socket. Nothing
is unpickled.
"""

import json
import socket
import struct
from typing import Any, Final, NamedTuple

_SIZES: Final = struct.Struct("<IQ")
MAX_HEAD_BYTES: Final = 2**16
# The kinds. A job is accepted, asks for memory at most once, and ends as decoded or refused.
JOB, ACCEPTED, NEEDS, GRANTED, DENIED, DECODED, REFUSED = (
    "job",
    "accepted",
    "needs",
    "granted",
    "denied",
    "decoded",
    "refused",
)


class Message(NamedTuple):
    """One message; `head` holds its kind and fields."""

    head: dict[str, Any]
    data: bytes

    @property
    def kind(self) -> str:
        """Which message it is."""
        return str(self.head.get("kind"))


def send(
    connection: socket.socket, kind: str, data: bytes | memoryview = b"", **fields: Any
) -> None:
    """Send a message. Raises OSError."""
    head = json.dumps({"kind": kind} | fields).encode()
    connection.sendall(_SIZES.pack(len(head), len(data)) + head)
    if data:
        connection.sendall(data)


def receive(connection: socket.socket, *, limit_bytes: int) -> Message | None:
    """The next message; None if the other side has ended. Raises OSError, and ValueError if it is
    over the limit.
    """
    sizes = _read(connection, _SIZES.size)
    if sizes is None:
        return None
    head_bytes, data_bytes = _SIZES.unpack(sizes)
    if head_bytes > MAX_HEAD_BYTES or data_bytes > limit_bytes:
        raise ValueError(f"a message of {head_bytes} and {data_bytes} bytes")
    head, data = _read(connection, head_bytes), _read(connection, data_bytes)
    return None if head is None or data is None else Message(json.loads(head), data)


def _read(connection: socket.socket, count: int) -> bytes | None:
    """Exactly `count` bytes, None if the stream ends before. Usually one call, and no copy."""
    parts: list[bytes] = []
    while count:
        part = connection.recv(count, socket.MSG_WAITALL)
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
