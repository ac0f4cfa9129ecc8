"""A client without a token that never stops sending what a parser has most work with, or that is
slow on purpose: a piece a second, then nothing, or answers that it does not read.

`python -m tests.soak.flood PORT KIND CONNECTIONS [CERTIFICATE]` opens connections, over TLS if
there is a certificate, and opens each again that the server ends, until it is killed.
"""

import selectors
import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

_PART_BYTES: Final = 64 * 1024
_CHUNKED: Final = b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
_GET: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_SIZED: Final = b"POST /predictions/tiny HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
_FORM: Final = b"\r\nContent-Type: multipart/form-data; boundary=a\r\n\r\n"
_PREDICT: Final = _CHUNKED % b"/predictions/tiny"
_HEALTH: Final = _CHUNKED % b"/healthz"

# what begins a connection, and what follows without end
KINDS: Final[dict[str, tuple[bytes, bytes]]] = {
    "trailers": (_PREDICT + b"0\r\n", b"a:b\r\n"),
    "trailers to a health check": (_HEALTH + b"0\r\n", b"a:b\r\n"),
    "one endless trailer": (_PREDICT + b"0\r\na: ", b"b"),
    "chunks of a byte": (_PREDICT, b"1\r\na\r\n"),
    "chunks of a byte to a health check": (_HEALTH, b"1\r\na\r\n"),
    "chunk extensions": (_PREDICT, b"1;a=b\r\na\r\n"),
    "one endless chunk extension": (_PREDICT + b"1;a=", b"b"),
    "many extensions of one chunk": (_PREDICT + b"1", b";a=b"),
    "requests without waiting": (b"", _GET),
    "large heads without waiting": (
        b"",
        _GET[:-2] + b"Cookie: %b\r\n" % (b"a=b;" * 15_000) + b"a:b\r\n" * 150 + b"\r\n",
    ),
    "upgrades without waiting": (
        b"",
        _GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
    "unknown routes without waiting": (b"", b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "empty bodies without waiting": (
        b"",
        b"POST /predictions/tiny HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    ),
    "a head without end": (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"a:b\r\n"),
    "empty lines": (b"", b"\r\n"),
    "noise and another connection": (b"\0" * 3000, b""),
    "slow heads": (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"a:b\r\n"),
    "slow bodies": (_SIZED % 60_000_000, b"a"),
    "slow chunks": (_PREDICT, b"1\r\na\r\n"),
    "bodies that stop": (_SIZED % 60_000_000 + b"a" * 60_000, b""),
    "large bodies that stop": (_SIZED % 60_000_000 + b"a" * 1_000_000, b""),
    "slow forms": (_SIZED.replace(b"\r\n\r\n", _FORM) % 60_000_000, b"a"),
    "answers that nobody reads": (b"", b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"),
}
SLOW = {kind for kind in KINDS if "slow" in kind or "that stop" in kind}
UNREAD: Final = {"answers that nobody reads"}


def _hello() -> bytes:
    """What begins a TLS handshake."""
    sent = ssl.MemoryBIO()
    shaking = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="a")
    with suppress(ssl.SSLWantReadError):
        shaking.do_handshake()
    return sent.read()


# For a server with TLS: no handshake is ever completed.
TLS_KINDS: Final[dict[str, tuple[bytes, bytes]]] = {
    "handshakes that do not go on": (_hello(), b""),
    "slow handshakes": (_hello()[:3], b"a"),
}
SLOW |= {"slow handshakes"}


class Flood:
    """A process that floods `port` of this machine; over TLS, if the server has a certificate."""

    def __init__(
        self, port: int, kind: str, *, connections: int, certificate: Path | None = None
    ) -> None:
        command = [sys.executable, "-m", "tests.soak.flood", str(port), kind, str(connections)]
        self._process = subprocess.Popen([*command, *([str(certificate)] if certificate else [])])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def flood(port: int, kind: str, connections: int, certificate: str | None = None) -> None:
    """Send without end, and read and forget what comes back."""
    begin, more = (KINDS | TLS_KINDS)[kind]
    more *= 1 if kind in SLOW else _PART_BYTES // max(len(more), 1)
    events = selectors.EVENT_WRITE | (0 if kind in UNREAD else selectors.EVENT_READ)
    selector = selectors.DefaultSelector()
    tls = ssl.create_default_context(cafile=certificate)

    def connect() -> None:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            if certificate is not None:
                connection = tls.wrap_socket(connection, server_hostname="127.0.0.1")
            connection.setblocking(False)
            selector.register(connection, events, bytearray(begin))
        except OSError:
            pass

    while True:
        for _ in range(connections - len(selector.get_map())):
            connect()
        if kind in SLOW:
            time.sleep(1)
        for key, ready in selector.select(1):
            connection, rest = key.fileobj, key.data
            assert isinstance(connection, socket.socket)
            try:
                if ready & selectors.EVENT_READ and not connection.recv(_PART_BYTES):
                    raise ConnectionResetError
                if ready & selectors.EVENT_WRITE:
                    rest += b"" if rest else more
                    del rest[: connection.send(rest)]
                    if not rest and not more and kind not in SLOW:
                        raise ConnectionAbortedError
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except OSError:
                selector.unregister(connection)
                connection.close()


if __name__ == "__main__":
    flood(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
