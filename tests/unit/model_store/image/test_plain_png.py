"""Small PNG files read without Pillow's file object: the same pixels, and no more files."""

import io
import random
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_store.errors import ImageError
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


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (31, 7), (256, 256)])
def test_a_plain_file_has_the_pixels_that_pillow_reads(mode: str, size: tuple[int, int]) -> None:
    for level in (0, 1, 9):
        data = png(mode, size, compress_level=level)
        for file in (data, in_parts(data, max(100, len(data) // MAX_CHUNKS + 1))):
            plain = read_plain_png(file, max_pixels=NO_LIMIT)
            assert plain is not None
            decoded = plain.decoded()
            assert decoded is not None
            assert decoded.mode == mode
            with Image.open(io.BytesIO(file)) as by_pillow:
                assert decoded.tobytes() == by_pillow.tobytes()
            assert plain.needed_bytes >= 4 * size[0] * size[1]


@pytest.mark.parametrize(
    ("what", "data"),
    [
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
    ],
)
def test_what_is_unusual_is_left_to_pillow(what: str, data: bytes) -> None:
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


@pytest.mark.parametrize("size", [(256, 256), (256, 1), (1, 256)])
def test_the_slowest_plain_files_take_milliseconds(size: tuple[int, int]) -> None:
    """They are decoded on the event loop."""
    header = png("RGB", size)[:33]
    empty_blocks = b"\x78\x01" + b"\0\0\0\xff\xff" * ((PLAIN_BYTES - 1024) // 5)
    for data in (
        png("RGB", size),
        png("RGB", size, compress_level=1),
        header + chunk(b"IDAT", empty_blocks) + chunk(b"IEND", b""),
        in_parts(png("RGB", size), PLAIN_BYTES // MAX_CHUNKS),
    ):
        spent = []
        for _ in range(3):
            started_s = time.process_time()
            decode_plain(data, InputSpec(3, 256, 256, resize="crop"))
            spent.append(time.process_time() - started_s)
        assert min(spent) < 0.02


@pytest.mark.slow
def test_damage_gives_the_same_answer_as_without_the_short_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """3,000 files with bytes changed, removed or added: the same pixels or the same refusal."""
    source = random.Random(7)
    files = []
    for number in range(3_000):
        data = bytearray(in_parts(png(source.choice(["L", "RGB"]), (9, 11), seed=number % 5), 64))
        for _ in range(source.randint(1, 3)):
            at = source.randrange(len(data))
            act = source.random()
            if act < 0.7:
                data[at] = source.randrange(256)
            elif act < 0.85:
                del data[at : at + source.randint(1, 9)]
            else:
                data[at:at] = source.randbytes(source.randint(1, 9))
        files.append(bytes(data))
    short = [_outcome(data) for data in files]
    taken = sum(read_plain_png(data, max_pixels=NO_LIMIT) is not None for data in files)
    monkeypatch.setattr("model_store.image.decoder.read_plain_png", lambda data, max_pixels: None)
    assert [_outcome(data) for data in files] == short
    assert taken > 300  # damage that the short way met


def _outcome(data: bytes) -> tuple[bytes, ...] | str:
    try:
        return tuple(decode(data, spec).tobytes() for spec in SPECS)
    except ImageError as error:
        return f"{type(error).__name__}: {error}"
