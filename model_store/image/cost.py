"""What decoding an image costs, by its header: too much is refused before a pixel is decoded.

A few hundred bytes can announce work for minutes: a JPEG of thousands of scans, a TIFF in tiles
that are much larger than the image, a WebP whose canvas Pillow allocates when it opens the file.
Memory is an upper bound of the peak, copies included, so that whoever runs several decoders can
share out what there is.
"""

import struct
from collections.abc import Callable
from typing import Final, TypeAlias

from PIL import BmpImagePlugin, Image, JpegImagePlugin, TiffImagePlugin

from model_store.errors import ImageTooComplex, ImageTooLarge, UnsupportedImage

# Called with the bytes of memory that decoding needs beyond the encoded image; raises to refuse.
Reserve: TypeAlias = Callable[[int], None]

MAX_SCANS: Final = 100  # a progressive JPEG has about ten
MAX_SEGMENTS: Final = 5_000  # of a JPEG before its first scan, fill bytes included
MAX_CHUNKS: Final = 20_000  # of a PNG; libpng writes one for each 8 KiB
# Pixels that a TIFF decodes for each of its own, in tiles that reach over its edge.
MAX_OVERHANG: Final = 4
SMALL_TILE: Final = 1024 * 1024  # a small TIFF may be one tile of this many pixels
MAX_STRIPS: Final = 200_000
TILE_WIDTH, TILE_LENGTH, ROWS_PER_STRIP = 322, 323, 278  # TIFF tags
# CCITT, old-style JPEG, LZMA and the rest are for documents and rarities; they are refused by name.
TIFF_COMPRESSIONS: Final = frozenset(
    {"raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg", "zstd"}
)
# Of a pixel in Pillow; 4 in other modes.
STORED_BYTES: Final = {
    "1": 1,
    "L": 1,
    "P": 1,
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), 2),
}
WEBP_BYTES: Final = 20  # in all: two canvases, the frame, its copy, the image
TIFF_BYTES: Final = 4  # beside the image: a strip, which may be all of it


def unlimited(_: int) -> None:
    """Reserve nothing: the caller has all the memory to itself."""


def check_encoded(data: bytes, *, max_pixels: int, reserve: Reserve = unlimited) -> None:
    """Refuse what is expensive even to open. Raises ImageTooLarge, ImageTooComplex.

    Reserves the memory of a WebP, whose canvas Pillow allocates when it opens the file.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        width, height = webp_size(data)
        if width * height > max_pixels:
            raise ImageTooLarge(width, height, max_pixels)
        reserve(width * height * WEBP_BYTES)
    elif data[:2] == b"\xff\xd8":
        _check_segments(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        _check_chunks(data)


def check_opened(image: Image.Image, data: bytes, *, max_pixels: int) -> None:
    """Refuse work that is out of proportion to the image, which is opened but not decoded.

    Raises ImageTooLarge, ImageTooComplex or UnsupportedImage.
    """
    if image.width * image.height > max_pixels:
        raise ImageTooLarge(image.width, image.height, max_pixels)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(image, max_pixels)
    elif isinstance(image, JpegImagePlugin.JpegImageFile):
        if (scans := _scans(data)) > MAX_SCANS:
            raise ImageTooComplex(f"a JPEG of {scans:,} scans", f"{MAX_SCANS}")
    elif isinstance(image, BmpImagePlugin.BmpImageFile) and any(
        tile[0] == "bmp_rle" for tile in image.tile
    ):
        raise UnsupportedImage("a BMP with run-length compression", "an uncompressed BMP or a PNG")


def needed_bytes(image: Image.Image, data: bytes) -> int:
    """Peak memory of decoding an opened image, in bytes; 0 if it is reserved already.

    A decoder's own buffers are free again before the image is rotated or its color changes.
    """
    if image.format == "WEBP":
        return 0
    stored = STORED_BYTES.get(image.mode, 4)
    beside = max(stored, 4)
    if isinstance(image, JpegImagePlugin.JpegImageFile) and _scans(data) > 1:
        beside = max(beside, 2 * image.layers)  # coefficients, which wait for the last scan
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        beside += TIFF_BYTES
    return image.width * image.height * (stored + beside)


def _scans(data: bytes) -> int:
    """The scans of a JPEG; a few more if the bytes of their marker also occur in its metadata."""
    return data.count(b"\xff\xda")


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP's canvas; (0, 0) if its header cannot be read.

    Source: WebP Container Specification (VP8X), RFC 6386 section 9.1 (VP8), WebP Lossless Bitstream
    Specification section 3 (VP8L).
    """
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return (0, 0)
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return (0, 0)


def _check_segments(data: bytes) -> None:
    """Pillow reads the segments, and the bytes that fill the space between them, one by one."""
    at, segments = 2, 0
    while at + 4 <= len(data) and data[at : at + 2] != b"\xff\xda":
        is_segment = data[at] == 0xFF and 0xC0 <= data[at + 1] < 0xFF
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big") if is_segment else 1
        segments += 1
        if segments > MAX_SEGMENTS:
            raise ImageTooComplex(f"a JPEG of over {MAX_SEGMENTS:,} segments", f"{MAX_SEGMENTS:,}")


def _check_chunks(data: bytes) -> None:
    """Pillow reads the chunks one by one in Python."""
    at, chunks = 8, 0
    while at + 8 <= len(data):
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise ImageTooComplex(f"a PNG of over {MAX_CHUNKS:,} chunks", f"{MAX_CHUNKS:,}")


def _check_tiff(image: TiffImagePlugin.TiffImageFile, max_pixels: int) -> None:
    """Refuse rare compressions, and tiles or strips out of proportion."""
    compression = str(image.info.get("compression", "raw"))
    if compression not in TIFF_COMPRESSIONS:
        raise UnsupportedImage(
            f"a TIFF compressed as {compression[:40]}",
            "an uncompressed TIFF, LZW, Deflate, PackBits or JPEG",
        )
    width, length = _number(image, TILE_WIDTH), _number(image, TILE_LENGTH)
    if width and length:
        _check_tiles(image, width, length, max_pixels)
        return
    strips = -(-image.height // max(1, _number(image, ROWS_PER_STRIP) or image.height))
    if strips > MAX_STRIPS:
        raise ImageTooComplex(f"a TIFF in {strips:,} strips", f"{MAX_STRIPS:,}")


def _check_tiles(
    image: TiffImagePlugin.TiffImageFile, width: int, length: int, max_pixels: int
) -> None:
    """Each tile is decoded whole, even if the image is much smaller."""
    if width * length > max_pixels:
        raise ImageTooLarge(width, length, max_pixels)
    tiles = -(-image.width // width) * -(-image.height // length)
    if tiles * width * length > MAX_OVERHANG * image.width * image.height + SMALL_TILE:
        raise ImageTooComplex(
            f"{tiles:,} tiles of {width} x {length} for {image.width} x {image.height} pixels",
            f"{MAX_OVERHANG} times the image",
        )


def _number(image: TiffImagePlugin.TiffImageFile, tag: int) -> int:
    return int(image.tag_v2.get(tag, 0))
