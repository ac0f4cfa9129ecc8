"""The numbers of a tensor in JSON, read without an object for each, in slices between which other
threads run.

A tensor of eight megabytes holds millions of numbers; as objects they would take hundreds of
megabytes and hold the interpreter's lock for seconds.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Final

import numpy as np
import numpy.typing as npt

SLICE_BYTES: Final = 64 * 1024
NUMBER_BYTES: Final = 64  # more than any number from 0 to 255 needs
_NUMBERS: Final = b"0123456789+-.eE"
_SPACE: Final = b" \t\r\n"


def read_pixels(text: bytes, shape: Sequence[int]) -> npt.NDArray[np.uint8] | None:
    """The values of a JSON array, flat or nested as `shape` says; None if they are not whole
    numbers from 0 to 255.

    `text` must be valid JSON.

    >>> read_pixels(b"[[1, 2], [3, 255]]", [2, 2]), read_pixels(b"[[1], [2, 3]]", [3]), read_pixels(b"[1e400]", [1])
    (array([  1,   2,   3, 255], dtype=uint8), None, None)
    """
    structure = text.translate(None, _NUMBERS + _SPACE)
    count = structure.count(b",") + 1
    if structure == b"[]" and not text.translate(None, b"[]" + _SPACE):
        return np.empty(0, np.uint8)
    nested = min(shape, default=0) > 0 and prod(shape) == count and structure == _nested(shape)
    if not nested and structure != b"[" + b"," * (count - 1) + b"]":
        return None
    slices = [_pixels(each) for each in _slices(text.translate(None, b"[]" + _SPACE))]
    found = [each for each in slices if each is not None]
    return np.concatenate(found) if len(found) == len(slices) else None


def _nested(shape: Sequence[int]) -> bytes:
    structure = b""
    for size in reversed(shape):
        structure = b"[" + b",".join([structure] * size) + b"]"
    return structure


def _slices(numbers: bytes) -> Iterator[bytes]:
    """Comma-separated numbers in pieces, each ending with a whole one."""
    start = 0
    while start < len(numbers):
        end = numbers.find(b",", start + SLICE_BYTES)
        end = len(numbers) if end < 0 else end
        yield numbers[start:end]
        start = end + 1


def _pixels(numbers: bytes) -> npt.NDArray[np.uint8] | None:
    if len(numbers) > SLICE_BYTES + NUMBER_BYTES:  # a single number of thousands of digits
        return None
    values = np.fromstring(numbers, np.float64, sep=",")
    fitting = np.all((values >= 0) & (values <= 255) & (values == np.floor(values)))
    return values.astype(np.uint8) if fitting else None
