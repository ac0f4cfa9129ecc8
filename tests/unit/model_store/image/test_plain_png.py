"""What `decode_plain` takes on the event loop, Pillow reads as the same picture, within 5 ms."""

import io
import random
import struct
import time
import zlib
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from model_store.image import InputSpec, decode, decode_plain
from model_store.image.plain_png import MAX_CHUNKS, PLAIN_BYTES, PLAIN_SIDE, read_plain_png
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


LIMIT_S: Final = 0.005  # of processor time
SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
KINDS: Final = (b"tEXt", b"gAMA", b"eXIf", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"iDAT", b"zzZz")
SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
EMPTY_BLOCKS: Final = (
    b"\0\0\0\xff\xff",  # stored
    bytes.fromhex(  # four blocks, each with a Huffman table that decodes nothing
        "04c081000000000090ff6b100007020000000040feaf41001c080000000000f9bf060170200000000000e4ff1a"
    ),
)


def header(rng: random.Random, width: int, height: int, color: int, depth: int) -> bytes:
    odd = [int(rng.random() < 0.02) for _ in range(3)]
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, *odd))


def side(rng: random.Random) -> int:
    return rng.choice((1, 2, 7, 28, 28, 64, rng.randint(1, PLAIN_SIDE), PLAIN_SIDE + 1))


def data(rng: random.Random, width: int, height: int, bits: int) -> bytes:
    """Rows of any filter, sometimes too few or too many, packed in one of several ways."""
    row = (width * bits + 7) // 8
    noise = rng.randbytes(row)
    rows = b"".join(
        bytes([rng.choice((0, 1, 2, 3, 4, 4, 4, rng.randrange(256) if row < 9 else 4))])
        + (noise if rng.random() < 0.7 else rng.randbytes(row))
        for _ in range(max(0, height + rng.choice((0, 0, 0, 0, 0, -1, 1))))
    )
    packed = zlib.compress(rows, rng.choice((0, 1, 6, 9)))
    if rng.random() < 0.1:
        packed = packed[:2] + rng.choice(EMPTY_BLOCKS) * rng.randint(1, 9) + packed[2:]
    return packed if rng.random() < 0.9 else packed + rng.randbytes(9)


def generated(rng: random.Random) -> bytes:
    """A PNG of the grammar, with now and then a chunk too many, in the wrong place, or broken."""
    width, height = side(rng), side(rng)
    color = rng.choice((0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 3, 4, 6))
    depth = rng.choice((8, 8, 8, 8, 8, 8, 16, 1))
    packed = data(rng, width, height, SAMPLES[color] * depth)
    step = rng.choice((len(packed), len(packed), rng.randint(1 + len(packed) // 70, len(packed))))
    pixels = [packed[at : at + step] for at in range(0, len(packed), step)]
    chunks = [header(rng, width, height, color, depth), *(chunk(b"IDAT", part) for part in pixels)]
    if color == 3 and rng.random() < 0.9:
        chunks.insert(1, chunk(b"PLTE", rng.randbytes(3 * rng.randint(1, 256))))
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
        others = (
            header(rng, side(rng), side(rng), color, depth),
            chunk(b"IHDR", struct.pack(">IIBBBBB", 7000, 7000, 8, 2, 0, 0, 0)),
            chunk(b"IDAT", b""),
            chunk(b"tRNS", rng.randbytes(rng.choice((2, 6, 9)))),
            chunk(b"IEND", b""),
            chunk(rng.choice(KINDS), rng.randbytes(rng.randrange(40))),
        )
        chunks.insert(rng.randint(0, len(chunks)), rng.choice(others))
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND", b"") + rng.choice((b"",) * 9 + (b"x",))


def mutated(rng: random.Random, file: bytes) -> bytes:
    changed = bytearray(file)
    for _ in range(rng.randint(1, 3)):
        at, act = rng.randrange(len(changed)), rng.random()
        if act < 0.7:
            changed[at] = rng.randrange(256)
        elif act < 0.85:
            del changed[at : at + rng.randint(1, 9)]
        else:
            changed[at:at] = rng.randbytes(rng.randint(1, 9))
    return bytes(changed) or b"x"


def spent_s(file: bytes, spec: InputSpec) -> float:
    started_s = time.thread_time()
    decode_plain(file, spec)
    return time.thread_time() - started_s


def check(file: bytes) -> bool:
    """Whether `file` is taken. Fails unless Pillow, which knows nothing of it, agrees."""
    # The model's input is the picture itself, so that every pixel is compared.
    width, height = struct.unpack_from(">II", file.ljust(24, b"\0"), 16)
    inside = 0 < width <= PLAIN_SIDE and 0 < height <= PLAIN_SIDE
    spec = InputSpec(3, height, width) if inside else InputSpec(3, 28, 28)
    started_s = time.thread_time()
    found = decode_plain(file, spec)
    if time.thread_time() - started_s > LIMIT_S:  # again, because caches may have been cold
        assert min(spent_s(file, spec) for _ in range(3)) < LIMIT_S
    if found is None:
        return False
    with Image.open(io.BytesIO(file), formats=("PNG",)) as image:
        assert (image.size, image.mode in ("L", "RGB")) == ((width, height), True)
        assert not image.info.keys() & {"transparency", "exif", "interlace"}
        assert found.transpose(1, 2, 0).tobytes() == image.convert("RGB").tobytes()
    return True


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(2_000, marks=pytest.mark.slow),
        pytest.param(30_000, marks=pytest.mark.nightly),
    ],
)
def test_pillow_agrees_about_every_file_that_is_taken(count: int) -> None:
    rng, taken = random.Random(29), 0
    for number in range(count):
        file = generated(rng)
        taken += check(mutated(rng, file) if number % 2 else file)
    assert taken > count / 20


@pytest.mark.parametrize("size", [(PLAIN_SIDE, PLAIN_SIDE), (PLAIN_SIDE, 1), (1, PLAIN_SIDE)])
@pytest.mark.parametrize("block", EMPTY_BLOCKS)
def test_work_without_a_pixel_ends_in_time(size: tuple[int, int], block: bytes) -> None:
    """The slowest files that were found, as large as they may be."""
    packed = b"\x78\x01" + block * ((PLAIN_BYTES - 100) // len(block))
    assert zlib.decompressobj().decompress(packed) == b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    file = SIGNATURE + head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    assert not check(file)
