"""Small PNG files read without Pillow's file object: the same pixels, and no more files."""

import io
from typing import Any

import numpy as np
from PIL import Image

from model_store.image import InputSpec, decode, decode_plain
from model_store.image.plain_png import MAX_CHUNKS, PLAIN_BYTES, read_plain_png
from tests.builders.hostile_images import chunk

NO_LIMIT = 10**9
SPECS = (InputSpec(1, 28, 28), InputSpec(3, 28, 28), InputSpec(3, 20, 9, resize="crop"))


def png(mode: str = "L", size: tuple[int, int] = (28, 28), seed: int = 0, **options: Any) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    ramp = np.arange(size[0], dtype=np.uint8)[None, :, None]
    smooth = np.minimum(noise, ramp)  # so that rows have several filters
    buffer = io.BytesIO()
    Image.fromarray(smooth, "RGBA").convert(mode).save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunks_of(data: bytes) -> list[bytes]:
    """The bodies of the IDAT chunks."""
    found, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            found.append(data[at + 8 : at + 8 + length])
        at += 12 + length
    return found


def in_parts(data: bytes, size: int) -> bytes:
    """The same file with its data in chunks of `size` bytes, as libpng writes them."""
    body = b"".join(chunks_of(data))
    parts = [chunk(b"IDAT", body[at : at + size]) for at in range(0, len(body), size)]
    return data[:33] + b"".join(parts) + chunk(b"IEND", b"")


def test_what_is_unusual_is_left_to_pillow() -> None:
    for _what, data in [
        ("transparent", png("RGBA")),
        ("gray with transparency", png("LA")),
        ("a palette", png("P")),
        ("one bit", png("1")),
        ("a transparent gray", png("L", transparency=3)),
        ("a text", png("L", dpi=(72, 72))),
        ("16 bits", png("I;16")),
        ("wide", png("L", (257, 1))),
        ("high", png("L", (1, 257))),
        ("no PNG", b"this is no image"),
        ("empty", b""),
        ("one chunk too many", png()[:33] + chunk(b"IDAT", b"") * (MAX_CHUNKS + 1) + png()[33:]),
        ("many bytes", in_parts(png()[:-12] + chunk(b"IDAT", bytes(PLAIN_BYTES)), PLAIN_BYTES)),
        ("a header alone", png()[:33]),
        ("no data", png()[:33] + chunk(b"IEND", b"")),
        ("cut short", png()[:-5]),
        ("more after its end", png() + b"x"),
        ("a wrong checksum of the header", png()[:29] + b"\0\0\0\0" + png()[33:]),
        ("a chunk longer than the file", png()[:33] + b"\x7f\xff\xff\xff" + png()[37:]),
    ]:
        assert read_plain_png(data, max_pixels=NO_LIMIT) is None


def test_limits_are_left_to_the_usual_check_and_the_rest_is_decoded_alike() -> None:
    data = png("RGB")
    assert read_plain_png(data, max_pixels=28 * 28) is not None
    assert read_plain_png(data, max_pixels=28 * 28 - 1) is None
    assert decode_plain(data, InputSpec(1, 512, 512)) is None
    for spec in SPECS:
        plain = decode_plain(data, spec)
        assert plain is not None
        assert np.array_equal(plain, decode(data, spec))
    for other in (b"", b"no image", png("P"), data[:-40] + data[-12:], png("L", (257, 256))):
        assert decode_plain(other, SPECS[0]) is None
