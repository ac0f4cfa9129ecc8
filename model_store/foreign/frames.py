"""Messages between the caller and the confined process: a JSON object, then the bytes of arrays.

Lengths are bounded before anything is read, and nothing is unpacked or unpickled. So a reader can
take a message from somebody whom it does not trust.
"""

import json
import struct
from collections.abc import Mapping
from math import prod
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_HEAD_BYTES: Final = 2**22
NUMBERS: Final = frozenset(
    (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
)
_LENGTHS: Final = struct.Struct("<QQ")  # of the JSON object, and of all arrays
_CHUNK_BYTES: Final = 2**24


class BrokenFrame(ValueError):
    """What arrived is no message, or it is longer than it may be."""


def write_frame(stream: IO[bytes], said: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Send an object that JSON holds, and arrays of NUMBERS by name."""
    shapes = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    head = json.dumps({"said": said, "arrays": shapes}).encode()
    bodies = [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
    stream.write(_LENGTHS.pack(len(head), sum(map(len, bodies))) + head)
    for body in bodies:
        stream.write(body)
    stream.flush()


def read_frame(
    stream: IO[bytes], *, max_bytes: int | None = None
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the next message, whose arrays have at most `max_bytes` in all.

    Raises EOFError at the end of the stream, and BrokenFrame.
    """
    head_bytes, body_bytes = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if head_bytes > MAX_HEAD_BYTES or (max_bytes is not None and body_bytes > max_bytes):
        raise BrokenFrame(f"it announces {head_bytes + body_bytes:,} bytes")
    try:
        head = json.loads(_exactly(stream, head_bytes))
        said, listed = dict(head["said"]), [_shaped(*each) for each in head["arrays"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BrokenFrame("its description cannot be read") from error
    if sum(size for *_, size in listed) != body_bytes:
        raise BrokenFrame("its arrays have other lengths than announced")
    arrays = {}
    for name, dtype, shape, size in listed:
        arrays[name] = np.frombuffer(_exactly(stream, size), dtype).reshape(shape)
    return said, arrays


def _shaped(name: Any, kind: Any, shape: Any) -> tuple[str, np.dtype[Any], tuple[int, ...], int]:
    """Return name, dtype, shape and bytes of an array. Raises TypeError or ValueError."""
    whole = all(type(side) is int and 0 <= side < 2**40 for side in shape)
    if not isinstance(name, str) or kind not in NUMBERS or not whole or len(shape) > 32:
        raise ValueError("no array of numbers")
    dtype = np.dtype(kind)
    return name, dtype, tuple(shape), prod(shape) * dtype.itemsize


def _exactly(stream: IO[bytes], size: int) -> bytes:
    """Read `size` bytes, and hold no more than have arrived. Raises EOFError."""
    parts, left = [], size
    while left:
        part = stream.read(min(left, _CHUNK_BYTES))
        if not part:
            raise EOFError
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
