"""Images of a few lines that ask for far more work or memory than their size suggests."""

import struct
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from tests.builders.bundles import encode

SIDE = 7000  # 49 million pixels, just below the default limit


def bmp(width: int, height: int, *, compression: int, bits: int = 8, pixels: bytes = b"") -> bytes:
    """A BMP of any header."""
    palette = (
        b"".join(bytes((value, value, value, 0)) for value in range(256)) if bits <= 8 else b""
    )
    start = 54 + len(palette)
    head = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 2835, 2835, 0, 0
    )
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + palette + pixels


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    *,
    color: int = 2,
    depth: int = 8,
    interlace: int = 0,
    extra: Iterable[bytes] = (),
) -> bytes:
    """A PNG of zeros, with `extra` chunks before its pixels."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    row = 1 + (width * samples * depth + 7) // 8
    packer, packed = zlib.compressobj(9), []
    zeros = bytes(min(row * height, 2**22))
    left = (row * height * (2 if interlace else 1)) if interlace else row * height
    while left:
        packed.append(packer.compress(zeros[:left]))
        left -= min(left, len(zeros))
    packed.append(packer.flush())
    palette = [chunk(b"PLTE", bytes(768)), chunk(b"tRNS", bytes(256))] if color == 3 else []
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    parts = [
        chunk(b"IHDR", header),
        *extra,
        *palette,
        chunk(b"IDAT", b"".join(packed)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_of_scans(scans: int, *, side: int = 4000) -> bytes:
    """A progressive JPEG that refines all coefficients again and again in few bytes."""
    data = encode(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    start = data.index(b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x21")
    end = min(
        at
        for marker in (b"\xff\xda", b"\xff\xc4", b"\xff\xd9")
        if (at := data.find(marker, start + 2)) > 0
    )
    return data[:end] + data[start:end] * scans + data[end:]


def jpeg_with(*segments: tuple[int, bytes], side: int = 64) -> bytes:
    """A JPEG with more segments before its first."""
    data = encode(Image.new("RGB", (side, side)), "JPEG")
    inserted = b"".join(
        b"\xff" + bytes((kind,)) + struct.pack(">H", len(body) + 2) + body
        for kind, body in segments
    )
    return data[:2] + inserted + data[2:]


def tiff(
    width: int, height: int, *, tags: dict[int, tuple[int, list[int]]], pixels: bytes = b""
) -> bytes:
    """A gray 8-bit TIFF; `tags` override its own: number to (type, values). `pixels`: its strip."""
    own = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8]),
        259: (3, [1]),
        262: (3, [1]),
        277: (3, [1]),
    }
    entries = own | tags
    if 324 not in entries and 273 not in entries:
        entries |= {273: (4, [0]), 279: (4, [len(pixels)]), 278: (4, [height])}
    places = 8 + 2 + 12 * len(entries) + 4
    directory, outside = struct.pack("<H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        if tag in (273, 324) and values == [0]:
            values = [8]  # patched below: pixels follow the header
        packed = b"".join(struct.pack("<H" if kind == 3 else "<I", value) for value in values)
        if len(packed) > 4:
            directory += struct.pack(
                "<HHII", tag, kind, len(values), places + len(pixels) + len(outside)
            )
            outside += packed
        else:
            directory += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    directory += struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + outside


def webp_canvas(width: int, height: int) -> bytes:
    """A lossless WebP of 34 bytes, which announces any size up to 16,384."""
    bits = (width - 1) | (height - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + bytes(5)
    data = b"VP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WEBP" + data


def packed_plane(count: int, value: int = 7) -> bytes:
    """PackBits of `count` equal bytes."""
    return bytes((129, value)) * (count // 128) + (
        bytes((257 - count % 128, value)) if count % 128 > 1 else b""
    )


def rle_frame(*planes: bytes) -> bytes:
    """A DICOM RLE frame."""
    starts = np.cumsum([64, *(len(plane) for plane in planes[:-1])]).tolist()
    return struct.pack("<16I", len(planes), *starts, *([0] * (15 - len(starts)))) + b"".join(planes)


def jpeg_2000_in_tiles_of_one_pixel(side: int) -> bytes:
    """A JPEG 2000 of under a kilobyte whose decoder allocates some 10 KB for each of its pixels."""
    data = bytearray(encode(Image.new("L", (side, side)), "JPEG2000", no_jp2=True))
    tile_size = data.index(b"\xff\x51") + 22  # XTsiz and YTsiz in the marker segment SIZ
    data[tile_size : tile_size + 8] = struct.pack(">II", 1, 1)
    return bytes(data)
