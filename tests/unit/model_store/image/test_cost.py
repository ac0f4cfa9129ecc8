"""Files that announce too much work are refused by their headers; honest ones are not."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from model_store.errors import ImageTooComplex, ImageTooLarge, UnsupportedImage
from model_store.image import InputSpec, decode
from model_store.image.cost import webp_size
from tests.builders.bundles import encode, picture
from tests.builders.dicoms import dicom_frames
from tests.builders.hostile_images import bmp, chunk, jpeg_of_scans, png, tiff, webp_canvas

SPEC = InputSpec(3, 8, 8)
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


class NotReached(Exception):
    """Raised where pixels would be decoded."""


def stop(_: int) -> None:
    raise NotReached


TOO_MUCH: dict[str, tuple[Callable[[], bytes], type[Exception], str]] = {
    "rle8": (lambda: bmp(50_000_000, 1, compression=1), UnsupportedImage, "run-length"),
    "rle4": (lambda: bmp(64, 64, compression=2, bits=4), UnsupportedImage, "run-length"),
    "scans": (lambda: jpeg_of_scans(101, side=64), ImageTooComplex, "1[0-9]+ scans"),
    "webp": (lambda: webp_canvas(16_383, 16_383), ImageTooLarge, "16383 x 16383"),
    "fill bytes": (lambda: b"\xff\xd8" + b"\xff" * 10_000, ImageTooComplex, "5,000 segments"),
    "comments": (
        lambda: b"\xff\xd8" + b"\xff\xfe\x00\x02" * 10_000,
        ImageTooComplex,
        "5,000 segments",
    ),
    "elements": (
        lambda: bytes(128) + b"DICM" + b"\x09\0\x10\0UN\0\0\0\0\0\0" * 30_000,
        ImageTooComplex,
        "20,000 elements",
    ),
    "fragments": (
        lambda: dicom_frames([b"x"] * 30_000, JPEG_BASELINE, (8, 8), np.uint8),
        ImageTooComplex,
        "items or fragments",
    ),
    "message": (lambda: bytes(128) + b"DICM" + bytes(400), UnsupportedImage, "message"),
    "chunks": (
        lambda: png(8, 8, extra=[chunk(b"teSt", b"")] * 20_000),
        ImageTooComplex,
        "20,000 chunks",
    ),
    "tiles": (
        lambda: tiff(
            16,
            1024,
            tags={322: (4, [3_100_000]), 323: (4, [16]), 324: (4, [8] * 64), 325: (4, [16] * 64)},
        ),
        ImageTooComplex,
        "64 tiles of 3100000 x 16",
    ),
    "strips": (
        lambda: tiff(1, 50_000_000, tags={278: (4, [1]), 273: (4, [8]), 279: (4, [1])}),
        ImageTooComplex,
        "50,000,000 strips",
    ),
    "fax": (lambda: tiff(64, 64, tags={259: (3, [4])}), UnsupportedImage, "group4"),
    "lzma": (lambda: tiff(64, 64, tags={259: (3, [34925])}), UnsupportedImage, "lzma"),
}


def test_too_much_work_is_refused_by_name_before_memory_is_reserved() -> None:
    for name in TOO_MUCH:
        make, error, found = TOO_MUCH[name]
        with pytest.raises(error, match=found):
            decode(make(), SPEC, reserve=stop)


def test_memory_is_reserved_before_pixels_are_decoded() -> None:
    for image_format in ["JPEG", "PNG", "BMP", "WEBP", "TIFF"]:
        reserved: list[int] = []
        decode(encode(picture(size=(640, 480)), image_format), SPEC, reserve=reserved.append)
        assert 4 * 640 * 480 <= sum(reserved) <= 20 * 640 * 480


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
def test_the_canvas_of_a_webp_is_read_from_its_header(options: dict[str, object]) -> None:
    assert webp_size(encode(picture(size=(333, 77)), "WEBP", **options)) == (333, 77)
    assert webp_size(b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I", 10)) == (0, 0)


def test_a_small_image_may_be_a_single_large_tile() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    tags = {322: (4, [16]), 323: (4, [16]), 324: (4, [0]), 325: (4, [256])}
    decoded = decode(tiff(5, 5, tags=tags, pixels=pixels.tobytes()), InputSpec(1, 5, 5))
    assert decoded[0, :, 0].tolist() == [0, 16, 32, 48, 64]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "I"])
def test_bands_of_rows_give_the_same_colors(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(
        (np.arange(40 * 50, dtype=np.int64) * 33).reshape(40, 50).astype(np.uint16)
    )
    image = image if mode == "I;16" else picture(size=(50, 40), mode="RGBA").convert(mode)
    data, spec = encode(image, "TIFF" if mode == "I" else "PNG"), InputSpec(3, 8, 8)
    whole = decode(data, spec)
    monkeypatch.setattr("model_store.image.decoder.BAND_PIXELS", 150)
    assert np.array_equal(decode(data, spec), whole)
