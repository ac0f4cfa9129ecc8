"""Only files that are proven to be cheap are decoded on the event loop."""

import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from model_store.errors import ImageError
from model_store.image import InputSpec, decode
from serving.decoding.cheap import is_cheap
from tests.builders.bundles import encode, picture
from tests.builders.dicoms import dicom
from tests.builders.hostile_images import (
    bmp,
    chunk,
    jpeg_of_scans,
    jpeg_with,
    png,
    tiff,
    webp_canvas,
)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize(("side", "cheap"), [(8, True), (512, True), (513, False)])
def test_size_is_told_from_the_header(image_format: str, side: int, cheap: bool) -> None:
    assert is_cheap(encode(picture(size=(side, side)), image_format)) is cheap


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"exif": b"Exif\0\0" + bytes(60_000)}, {"quality": 100}]
)
def test_a_camera_writes_cheap_jpegs(options: dict[str, object]) -> None:
    assert is_cheap(encode(picture(size=(500, 500)), "JPEG", icc_profile=bytes(3000), **options))


def test_a_png_may_carry_a_color_profile() -> None:
    assert is_cheap(encode(picture(), "PNG", icc_profile=bytes(3000)))


def bomb(kind: bytes) -> bytes:
    return chunk(
        kind,
        b"a\0" + (b"\0" if kind != b"iTXt" else b"\1\0\0\0") + zlib.compress(bytes(2**20 - 1), 9),
    )


DEAR: dict[str, Callable[[], bytes]] = {
    "dicom": lambda: dicom(np.zeros((2, 2), np.uint8)),
    "tiff": lambda: tiff(2, 2, tags={}, pixels=bytes(4)),
    "run-length bmp": lambda: bmp(100, 1, compression=1),
    "wide bmp": lambda: bmp(50_000_000, 1, compression=0),
    "cut bmp": lambda: b"BM" + bytes(30),
    "large webp": lambda: webp_canvas(16_383, 16_383),
    "many scans": lambda: jpeg_of_scans(17, side=64),
    "many segments": lambda: jpeg_with(*[(0xFE, b"x")] * 70),
    "long segments": lambda: jpeg_with(*[(0xED, bytes(65_000))] * 3),
    "padded jpeg": lambda: b"\xff\xd8" + b"\xff" * 4000,
    "many chunks": lambda: png(8, 8, extra=[chunk(b"teSt", b"")] * 300),
    "compressed texts": lambda: png(8, 8, extra=[bomb(b"zTXt")] * 3),
    "international texts": lambda: png(8, 8, extra=[bomb(b"iTXt")] * 3),
    "trailing bytes": lambda: encode(picture(), "JPEG") + bytes(2**20),
}
DEAREST_OF_THE_CHEAP: dict[str, Callable[[], bytes]] = {
    "detailed jpeg": lambda: detailed_jpeg(),
    "scans": lambda: jpeg_of_scans(6, side=512),
    "photoshop": lambda: jpeg_with(
        (0xED, b"Photoshop 3.0\0" + b"8BIM\0\0\0\0\0\0\0\0" * 4000), side=512
    ),
    "deep interlaced png": lambda: png(512, 512, color=6, depth=16, interlace=1),
    "text and profile": lambda: png(8, 8, extra=[bomb(b"zTXt"), bomb(b"iCCP")]),
    "wide png": lambda: png(262_144, 1),
    "high png": lambda: png(1, 262_144),
    "wide bmp": lambda: bmp(262_144, 1, compression=0, pixels=bytes(262_144)),
}


def detailed_jpeg() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    image = Image.fromarray(noise).resize((512, 512), Image.Resampling.BICUBIC)
    return encode(image, "JPEG", quality=85, subsampling=0, progressive=True)


@pytest.mark.parametrize("name", DEAR)
def test_what_is_not_proven_cheap_is_not(name: str) -> None:
    assert not is_cheap(DEAR[name]())


@pytest.mark.parametrize(
    "data", [b"text", b"text" * 1000, b"GIF89a" + bytes(100), b"", b"\x89PNG\r\n\x1a\n" + bytes(9)]
)
def test_what_is_no_image_fails_at_once(data: bytes) -> None:
    started_s = time.process_time()
    with pytest.raises(ImageError):
        decode(data, InputSpec(3, 8, 8))
    assert time.process_time() - started_s < 0.1


@pytest.mark.parametrize("name", DEAREST_OF_THE_CHEAP)
def test_the_dearest_of_the_cheap_take_milliseconds(name: str) -> None:
    data = DEAREST_OF_THE_CHEAP[name]()
    assert is_cheap(data)
    spent = []
    for _ in range(3):
        started_s = time.process_time()
        decode(data, InputSpec(3, 224, 224))
        spent.append(time.process_time() - started_s)
    assert min(spent) < 0.05


def test_every_prefix_of_a_header_is_survived(
    png: Callable[..., bytes], jpeg: Callable[..., bytes]
) -> None:
    for data in (
        png(),
        jpeg(),
        encode(picture(), "BMP"),
        encode(picture(), "WEBP"),
        tiff(2, 2, tags={}),
    ):
        for length in range(0, min(len(data), 700)):
            assert is_cheap(data[:length]) in (True, False)
