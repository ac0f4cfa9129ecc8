"""DICOM in JPEG Lossless, JPEG of 12 bits, JPEG-LS and HTJ2K, which Pillow does not read.

imagecodecs decodes them (the extra `dicom`): libjpeg-turbo, CharLS and OpenJPEG in one package. It
is imported with the first such file; without it they are refused by name. The header of a frame is
read here, before a pixel is decoded.

Source: ITU-T T.81 B.2.2 (JPEG frame header), T.87 C.2.2 (JPEG-LS), T.800 A.5.1 (JPEG 2000 SIZ).
"""

import struct
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import numpy.typing as npt

from model_store.errors import ImageTooComplex
from model_store.image.cost import MAX_SCANS

JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
DECODERS: Final = {
    JPEG_EXTENDED: "jpeg8_decode",
    "1.2.840.10008.1.2.4.57": "jpeg8_decode",  # JPEG Lossless, process 14
    "1.2.840.10008.1.2.4.70": "jpeg8_decode",  # the same, selection value 1
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",  # near-lossless
    "1.2.840.10008.1.2.4.201": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.202": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.203": "jpeg2k_decode",
}
MAX_SEGMENTS: Final = 1000  # before the frame header
MAX_TILES: Final = 4096
_FRAME_HEADERS: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}


class FrameHeader(NamedTuple):
    """What a compressed frame says of itself."""

    columns: int
    rows: int
    samples: int
    bits: int


@cache  # a confined process cannot look for it
def available() -> bool:
    """Whether imagecodecs is installed."""
    return find_spec("imagecodecs") is not None


def decode_frame(frame: bytes, syntax: str, expected: FrameHeader) -> npt.NDArray[Any]:
    """Decode a frame: integers, (H, W) or (H, W, 3).

    `syntax` is a key of DECODERS, and `expected` what the data set announces; a frame may have
    fewer bits.

    Raises ImageTooComplex for too many scans or tiles, ValueError for another image than the data
    set announces, and what imagecodecs raises.
    """
    header = _read_header(frame, tiled=DECODERS[syntax] == "jpeg2k_decode")
    if header[:3] != expected[:3] or not 1 < header.bits <= expected.bits:
        raise ValueError(
            f"holds {tuple(header)} (columns, rows, samples, bits), announces {tuple(expected)}"
        )
    import imagecodecs

    pixels: npt.NDArray[Any] = getattr(imagecodecs, DECODERS[syntax])(frame)
    shape = (expected.rows, expected.columns) + (
        (expected.samples,) if expected.samples > 1 else ()
    )
    if pixels.shape != shape:
        raise ValueError(f"decoded as {pixels.shape}, expected {shape}")
    return pixels


def stored(
    pixels: npt.NDArray[Any], *, allocated: int, bits: int, signed: bool
) -> npt.NDArray[Any]:
    """The integers of `bits` bits that a decoder returned, in `allocated` bits and with their sign.

    >>> import numpy as np
    >>> stored(np.array([0, 2047, 4095], np.uint16), allocated=16, bits=12, signed=True).tolist()
    [0, 2047, -1]
    """
    width, unused = allocated // 8, allocated - bits
    values = pixels.astype(f"u{width}", casting="unsafe").view(f"{'i' if signed else 'u'}{width}")
    return values << unused >> unused


def _read_header(frame: bytes, *, tiled: bool) -> FrameHeader:
    try:
        return _read_tiled(frame) if tiled else _read_jpeg(frame)
    except struct.error:
        raise ValueError(
            f"the compressed frame of {len(frame):,} bytes ends within its header"
        ) from None


def _read_jpeg(frame: bytes) -> FrameHeader:
    """JPEG and JPEG-LS. Raises ImageTooComplex or ValueError."""
    if (scans := frame.count(b"\xff\xda")) > MAX_SCANS:
        raise ImageTooComplex(f"a JPEG of {scans:,} scans", f"{MAX_SCANS}")
    at = 2
    for _ in range(MAX_SEGMENTS):
        marker, kind, length = struct.unpack_from(">BBH", frame, at)
        if marker != 0xFF or length < 2:
            break
        if kind in _FRAME_HEADERS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, at + 4)
            return FrameHeader(columns, rows, samples, bits)
        at += 2 + length
    raise ValueError("a JPEG without a frame header")


def _read_tiled(frame: bytes) -> FrameHeader:
    """JPEG 2000. Raises ImageTooComplex or ValueError."""
    if frame[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("no JPEG 2000 codestream")
    right, bottom, left, top, width, height, x, y, samples, depth = struct.unpack_from(
        ">8IHB", frame, 8
    )
    if not width or not height:
        raise ValueError("a JPEG 2000 codestream with empty tiles")
    tiles = -(-(right - x) // width) * -(-(bottom - y) // height)
    if tiles > MAX_TILES:
        raise ImageTooComplex(f"a JPEG 2000 codestream of {tiles:,} tiles", f"{MAX_TILES:,}")
    return FrameHeader(right - left, bottom - top, samples, (depth & 0x7F) + 1)
