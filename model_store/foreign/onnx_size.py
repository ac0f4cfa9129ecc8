"""How much of an ONNX file is not weights, counted in its bytes before a parser makes objects.

An empty operator takes two bytes of a file and eighty of memory, and every walk over the graph
costs time for each. Format: https://protobuf.dev/programming-guides/encoding.
"""

from functools import cache
from typing import Any, Final

import onnx

MAX_PARTS: Final = 4_000_000  # a DenseNet-121 has 100,000, and a random forest 10 for each node
MESSAGE_PARTS: Final = 8  # a message takes more memory and time than a number or a text
SPARSE_PARTS: Final = 4_000  # ONNX Runtime takes minutes to load 100,000 sparse tensors
MAX_DESCRIBED_BYTES: Final = 32 * 2**20  # names, texts and numbers that are no tensor's values
MAX_LEVELS: Final = 100  # the parser's own limit
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Bytes of memory for each byte of a tensor's values in the file.
_VALUES: Final = {"raw_data": 1, "float_data": 1, "double_data": 1, "int32_data": 4} | {
    "int64_data": 8,
    "uint64_data": 8,
}


class TooLarge(ValueError):
    """There is more beside the weights than any image classifier has."""


def weights_bytes(file: bytes) -> int:
    """Return the memory, in bytes, that the values of all tensors in an ONNX file take.

    Raises:
        TooLarge: it has over MAX_PARTS parts, or MAX_DESCRIBED_BYTES that are not weights.
        ValueError: it is not protobuf's format.
    """
    parts = described = weights = 0
    waiting = [(onnx.ModelProto.DESCRIPTOR, 0, len(file), 0)]
    while waiting:
        kind, at, end, level = waiting.pop()
        known = _lengthy(kind)
        while at < end:
            tag, at = _varint(file, at)
            size, at = _size(file, tag & 7, at)
            at += size
            if at > end:
                raise ValueError("a field is longer than what it stands in")
            what = known.get(tag >> 3) if tag & 7 == _BYTES else None
            if isinstance(what, int):
                weights += what * size
            elif what is None:
                parts, described = parts + 1, described + size
            elif level == MAX_LEVELS:
                raise ValueError(f"over {MAX_LEVELS} levels")
            else:
                is_sparse = what is onnx.SparseTensorProto.DESCRIPTOR
                parts += SPARSE_PARTS if is_sparse else MESSAGE_PARTS
                waiting.append((what, at - size, at, level + 1))
            if parts > MAX_PARTS or described > MAX_DESCRIBED_BYTES:
                raise TooLarge
    return weights


@cache
def _lengthy(kind: Any) -> dict[int, Any]:
    """The fields of a message by number that are messages, or values of a tensor."""
    values = _VALUES if kind is onnx.TensorProto.DESCRIPTOR else {}
    return {
        field.number: field.message_type or values.get(field.name)
        for field in kind.fields
        if field.message_type or field.name in values
    }


def _size(file: bytes, wire_type: int, at: int) -> tuple[int, int]:
    """Return how many bytes the value of a field has, and where they begin."""
    if wire_type == _VARINT:
        return 0, _varint(file, at)[1]
    if wire_type == _BYTES:
        return _varint(file, at)
    if wire_type in (_FIXED64, _FIXED32):
        return 8 if wire_type == _FIXED64 else 4, at
    raise ValueError(f"wire type {wire_type}, which ONNX does not use")


def _varint(file: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place behind it."""
    number = shift = 0
    while shift < 70:
        if at >= len(file):
            raise ValueError("a number is cut off")
        byte = file[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
    raise ValueError("a number is too long")
