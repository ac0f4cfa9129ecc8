"""Plain PNG files without Pillow's file object, which costs more than a small one's pixels.

Pillow's decoder does the work here too, so pixels are the same. Only the chunks are read here, and
only of files that hold nothing but a header, data and an end. Whatever is unusual, or broken, is
left to `Image.open`.
"""

import struct
import zlib
from typing import Final, NamedTuple

from PIL import Image

PLAIN_SIDE: Final = 256  # pixels
# With these limits, reading and decoding take less than 5 ms, whatever a file holds: 256 KiB of
# empty Deflate blocks, each with its own table, take 18.
PLAIN_BYTES: Final = 32 * 1024
MAX_CHUNKS: Final = 64
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_HEADER: Final = struct.Struct(">IIBBBBBI")
_CHUNK: Final = struct.Struct(">I4s")
_END: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_MODES: Final = {(8, 0): "L", (8, 2): "RGB"}  # by bit depth and color type
_FIRST: Final = len(_SIGNATURE) + _HEADER.size


class PlainPng(NamedTuple):
    """An 8-bit PNG, gray or RGB, without transparency, interlacing or metadata."""

    mode: str
    size: tuple[int, int]
    compressed: bytes

    @property
    def needed_bytes(self) -> int:
        """An upper bound of the memory that decoding takes."""
        return 8 * self.size[0] * self.size[1]

    def decoded(self) -> Image.Image | None:
        """The image, loaded; None if the data are broken, or not exactly all rows.

        Pillow takes some files that lack rows, and not others, depending on where chunks end.
        """
        rows_bytes = self.size[1] * (1 + self.size[0] * len(self.mode))
        inflater = zlib.decompressobj()
        try:
            rows = inflater.decompress(self.compressed, rows_bytes + 1)
            if len(rows) != rows_bytes or not inflater.eof or inflater.unused_data:
                return None
            stored = zlib.compress(rows, 0)
            return Image.frombytes(self.mode, self.size, stored, "zip", self.mode, 0)
        except (ValueError, zlib.error):
            return None


def read_plain_png(data: bytes, *, max_pixels: int) -> PlainPng | None:
    """What a plain PNG of up to PLAIN_SIDE pixels a side holds, None for any other file.

    Source: Portable Network Graphics Specification, sections 5.3, 11.2 and 11.2.1.
    """
    if not _FIRST + len(_END) <= len(data) <= PLAIN_BYTES:
        return None
    if not data.startswith(_SIGNATURE) or not data.endswith(_END):
        return None
    width, height, depth, color, compression, filtering, interlace, crc = _HEADER.unpack_from(
        data, len(_SIGNATURE)
    )
    mode = _MODES.get((depth, color))
    if mode is None or compression or filtering or interlace or zlib.crc32(data[12:29]) != crc:
        return None
    if not (0 < width <= PLAIN_SIDE and 0 < height <= PLAIN_SIDE and width * height <= max_pixels):
        return None
    compressed = _compressed(data)
    return None if compressed is None else PlainPng(mode, (width, height), compressed)


def _compressed(data: bytes) -> bytes | None:
    """The data of all IDAT chunks; None if there are other chunks, none, or too many."""
    at, end = _FIRST, len(data) - len(_END)
    parts: list[bytes] = []
    while at + 12 <= end and len(parts) < MAX_CHUNKS:
        length, kind = _CHUNK.unpack_from(data, at)
        if kind != b"IDAT":
            return None
        parts.append(data[at + 8 : at + 8 + length])
        at += 12 + length
    return b"".join(parts) if parts and at == end else None
