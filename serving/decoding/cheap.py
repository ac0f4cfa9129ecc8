"""Whether an image is provably cheap to decode: from its header, without Pillow, and without a loop
over its bytes.

Cheap means a few milliseconds at most, whatever the rest of the file holds. Only plain files of up
to SMALL_PIXELS
pass: JPEG with few scans and little before the first, PNG of few chunks, uncompressed BMP, WebP
without animation. Everything else goes to a decoding process, which costs it less than a
millisecond.
"""

from typing import Final

from model_store.image.cost import webp_size

SMALL_PIXELS: Final = 512 * 512  # about 1.5 ms of JPEG decoding
SMALL_BYTES: Final = 2**20
MAX_SEGMENTS: Final = 64  # of a JPEG before its first scan
MAX_HEAD_BYTES: Final = (
    128 * 1024
)  # of those segments: two of EXIF or color profiles at their longest
MAX_SCANS: Final = 16
MAX_CHUNKS: Final = 256
MAX_COMPRESSED: Final = 2  # chunks that Pillow unpacks to up to 1 MiB each: color profile, texts
_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})  # Huffman-coded: baseline, extended, progressive
_OTHER_FRAMES: Final = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_COMPRESSED: Final = frozenset({b"zTXt", b"iTXt", b"iCCP"})
_UNCOMPRESSED_BMP: Final = frozenset({0, 3})  # BI_RGB, BI_BITFIELDS


def is_cheap(data: bytes) -> bool:
    """Whether decoding is fast enough for the event loop, or fails at once."""
    if len(data) > SMALL_BYTES:
        return False
    if data[:3] == b"\xff\xd8\xff":
        return _cheap_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _cheap_png(data)
    if data[:2] == b"BM":
        return _cheap_bmp(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _cheap_webp(data)
    return data[128:132] != b"DICM" and data[:2] not in (
        b"II",
        b"MM",
    )  # neither DICOM nor TIFF: no image at all


def _cheap_jpeg(data: bytes) -> bool:
    at, pixels = 2, 0
    for _ in range(MAX_SEGMENTS):
        if data[at : at + 1] != b"\xff" or at > MAX_HEAD_BYTES:
            return False
        kind = data[at + 1] if at + 1 < len(data) else 0
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xDA:
            return 0 < pixels <= SMALL_PIXELS and data.count(b"\xff\xda", at) <= MAX_SCANS
        if kind in _OTHER_FRAMES or length < 2 or kind < 0xC0:
            return False
        if kind in _FRAMES:
            pixels = _area(data[at + 7 : at + 9], data[at + 5 : at + 7], "big")
        at += 2 + length
    return False


def _cheap_png(data: bytes) -> bool:
    if not 0 < _area(data[16:20], data[20:24], "big") <= SMALL_PIXELS:
        return False
    at, compressed = 8, 0
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            return True
        compressed += data[at + 4 : at + 8] in _COMPRESSED
        if compressed > MAX_COMPRESSED:
            return False
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def _cheap_bmp(data: bytes) -> bool:
    """A header of 40 bytes or more; the height is negative if the first row is the top."""
    if len(data) < 54 or int.from_bytes(data[14:18], "little") < 40:
        return False
    width, height = (
        abs(int.from_bytes(data[at : at + 4], "little", signed=True)) for at in (18, 22)
    )
    return (
        0 < width * height <= SMALL_PIXELS
        and int.from_bytes(data[30:34], "little") in _UNCOMPRESSED_BMP
    )


def _cheap_webp(data: bytes) -> bool:
    width, height = webp_size(data)
    return 0 < width * height <= SMALL_PIXELS and b"ANMF" not in data


def _area(width: bytes, height: bytes, order: str) -> int:
    return int.from_bytes(width, order) * int.from_bytes(height, order)  # type: ignore[arg-type]
