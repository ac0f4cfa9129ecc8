"""How many fields a protobuf message holds, counted on the wire before anything is parsed.

A field of two bytes may become an object of a hundred, so 20 MB could become gigabytes. Packed
numbers and raw contents are one field each, so honest requests have a few dozen.

Source: the wire format of Protocol Buffers, https://protobuf.dev/programming-guides/encoding/.
"""

from typing import Final

from serving.errors import MalformedRequest

FIELDS_LIMIT: Final = 10_000
INPUTS, CONTENTS = (
    5,
    5,
)  # field numbers: of the inputs in a ModelInferRequest, and of the contents in an input
_DEPTH: Final = 2
_VARINT, _LONG, _BYTES, _SHORT = 0, 1, 2, 5  # wire types


def check_fields(data: bytes) -> None:
    """Raise MalformedRequest for over FIELDS_LIMIT fields, and for what is no protobuf."""
    _count(data, 0, len(data), depth=0, left=FIELDS_LIMIT)


def _count(data: bytes, at: int, end: int, *, depth: int, left: int) -> int:
    """How many more fields are allowed after those from `at` to `end`."""
    while at < end:
        left -= 1
        if left < 0:
            raise MalformedRequest(
                f"the request holds over {FIELDS_LIMIT:,} fields; send tensors as raw contents."
            )
        key, at = _varint(data, at, end)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _LONG:
            at += 8
        elif kind == _SHORT:
            at += 4
        elif kind == _BYTES:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise MalformedRequest("this is not a protobuf message.")
            if depth < _DEPTH and key >> 3 == (INPUTS, CONTENTS)[depth]:
                left = _count(data, at, at + size, depth=depth + 1, left=left)
            at += size
        else:
            raise MalformedRequest("this is not a protobuf message.")
    return left


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedRequest("this is not a protobuf message.")
