"""Images as senders have them: every color mode and orientation, damage of every kind, and
bombs.
"""

import ast
import functools
import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import model_store.image
from model_store.errors import BrokenImage, EmptyImage, ImageError, ImageTooLarge, UnknownImage
from model_store.image import KNOWN, InputSpec, decode, prepare

GRAY, RGB = InputSpec(1, 24, 32), InputSpec(3, 24, 32)
ORIENTATION = 0x0112

# The stored pixels that show `upright` under each EXIF orientation, by definition of the tag.
STORED: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def random_pixels(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def encode(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def smooth(mode: str = "RGB") -> Image.Image:
    return (
        Image.fromarray(random_pixels(4, 4, 3))
        .resize((32, 24), Image.Resampling.BICUBIC)
        .convert(mode)
    )


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "WEBP"])
def test_lossless_pixels_arrive_as_they_were(image_format: str) -> None:
    pixels = random_pixels(24, 32, 3)
    options = {"lossless": True} if image_format == "WEBP" else {}
    decoded = decode(encode(Image.fromarray(pixels), image_format, **options), RGB)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, pixels.transpose(2, 0, 1))
    assert decoded.flags.c_contiguous


def test_a_jpeg_arrives_nearly_as_it_was(jpeg: Callable[..., bytes]) -> None:
    difference = decode(jpeg(size=(32, 24)), RGB).astype(int) - decode(encode(smooth()), RGB)
    assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_images_stand_upright(orientation: int, image_format: str) -> None:
    upright = np.zeros((24, 32, 3), dtype=np.uint8)
    upright[:8, :16], upright[:8, 16:], upright[16:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(
        image_format, {}
    )
    decoded = decode(encode(stored, image_format, exif=exif, **options), RGB).transpose(1, 2, 0)
    assert np.abs(decoded.astype(int) - upright).max() < 20


def test_gray_to_color_repeats_the_gray() -> None:
    pixels = random_pixels(24, 32)
    decoded = decode(encode(Image.fromarray(pixels)), RGB)
    assert all(np.array_equal(channel, pixels) for channel in decoded)
    assert np.array_equal(decode(encode(Image.fromarray(pixels)), GRAY), pixels[np.newaxis])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I", "I;16", "P"])
@pytest.mark.parametrize("resize", ["stretch", "crop"])
def test_gray_that_becomes_color_last_has_the_pixels_of_gray_that_became_color_first(
    mode: str, resize: Literal["stretch", "crop"]
) -> None:
    """The oracle is Pillow: three channels, each resized by itself."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 401, 2), dtype=np.uint8)
    plain, alpha = Image.fromarray(noise[..., 0]), Image.fromarray(noise[..., 1])
    wide = Image.fromarray(noise[..., 0].astype(np.uint16) * 256 + noise[..., 1])
    made = {
        "LA": lambda: Image.merge("LA", (plain, alpha)),
        "I": lambda: wide.convert("I"),
        "I;16": lambda: wide,
    }
    image = made.get(mode, lambda: plain.convert(mode))()
    first = {
        "LA": lambda: Image.composite(plain, Image.new("L", plain.size), alpha).convert("RGB"),
        "I": lambda: plain.convert("RGB"),
        "I;16": lambda: plain.convert("RGB"),
    }.get(mode, lambda: image.convert("RGB"))()
    spec = InputSpec(3, 37, 53, resize)
    np.testing.assert_array_equal(prepare(image, spec), prepare(first, spec))


def test_color_to_gray_weighs_by_luma() -> None:
    pixels = random_pixels(24, 32, 3)
    expected = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(encode(Image.fromarray(pixels)), GRAY)[0] - expected).max() <= 1


@pytest.mark.parametrize("spec", [GRAY, RGB])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_black(mode: str, spec: InputSpec) -> None:
    image = Image.new(mode, (32, 24), (200,) * (len(mode) - 1) + (255,))
    image.paste((200,) * (len(mode) - 1) + (0,), (0, 0, 16, 24))
    image.paste((200,) * (len(mode) - 1) + (128,), (16, 0, 24, 24))
    decoded = decode(encode(image), spec)
    assert np.all(decoded[:, :, :16] == 0)
    assert np.all(np.abs(decoded[:, :, 16:24].astype(int) - 100) <= 1)
    assert np.all(decoded[:, :, 24:] == 200)


@pytest.mark.parametrize("spec", [GRAY, RGB])
@pytest.mark.parametrize(("mode", "clear"), [("L", 200), ("RGB", (200, 200, 200))])
def test_a_color_declared_transparent_is_black_for_gray_and_color_models(
    mode: str, clear: Any, spec: InputSpec
) -> None:
    image = Image.new(mode, (32, 24), clear)
    image.paste(90 if mode == "L" else (90, 90, 90), (0, 0, 16, 24))
    decoded = decode(encode(image, transparency=clear), spec)
    assert np.all(decoded[:, :, :16] == 90)
    assert np.all(decoded[:, :, 16:] == 0)


def test_palettes_are_looked_up() -> None:
    image = smooth().quantize(16)
    assert np.array_equal(
        decode(encode(image), RGB), np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    )
    assert np.array_equal(decode(encode(image), GRAY)[0], np.asarray(image.convert("L")))


def test_a_transparent_palette_entry_is_black() -> None:
    image = Image.new("P", (32, 24), 1)
    image.putpalette([10, 20, 30, 200, 200, 200])
    image.paste(0, (0, 0, 16, 24))
    decoded = decode(encode(image, transparency=1), RGB)
    assert decoded[:, 0, 0].tolist() == [10, 20, 30]
    assert decoded[:, 0, 31].tolist() == [0, 0, 0]


def test_cmyk_and_bilevel_images_are_read() -> None:
    cmyk = encode(smooth("CMYK"), "JPEG", quality=100)
    assert np.abs(decode(cmyk, RGB).astype(int) - decode(encode(smooth()), RGB)).max() < 20
    assert set(np.unique(decode(encode(smooth("1")), RGB))) == {0, 255}


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("spec", [GRAY, RGB])
def test_sixteen_bits_keep_their_upper_byte(spec: InputSpec, image_format: str) -> None:
    deep = (np.arange(24 * 32, dtype=np.uint16) * 85).reshape(24, 32)
    decoded = decode(encode(Image.fromarray(deep), image_format), spec)
    assert all(np.array_equal(channel, deep >> 8) for channel in decoded)


def png_of_sixteen_bits(pixels: npt.NDArray[np.uint16], color_type: int) -> bytes:
    """A PNG (H, W, samples), which Pillow cannot write; color type 2 is RGB, 4 gray with alpha, 6
    RGB with it.
    """
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").reshape(height, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    return png_of([(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")])


def tiff_of_sixteen_bits(
    pixels: npt.NDArray[np.uint16], photometric: int, *more: tuple[int, int]
) -> bytes:
    """An uncompressed TIFF (H, W) or (H, W, 3); photometric 0 stores white as 0, 1 black as 0, 2 is
    RGB.
    """
    height, width, samples = (*pixels.shape, 1)[:3]
    tags = [
        (256, width),
        (257, height),
        (258, 16),
        (259, 1),
        (262, photometric),
        (273, 8),
        (277, samples),
    ]
    tags += [(278, height), (279, pixels.nbytes), *more]
    body = struct.pack("<2sHI", b"II", 42, 8 + pixels.nbytes) + pixels.astype("<u2").tobytes()
    at = len(body) + 2 + 12 * len(tags) + 4  # where the three bit depths of RGB go
    entries = b"".join(
        struct.pack("<HHII", tag, 3, 3, at)
        if (tag, samples) == (258, 3)
        else struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in tags
    )
    return body + struct.pack("<H", len(tags)) + entries + struct.pack("<I3H", 0, 16, 16, 16)


@pytest.mark.parametrize("color_type", [2, 4, 6])
def test_sixteen_bits_in_color_and_with_alpha_keep_their_upper_byte(color_type: int) -> None:
    samples = {2: 3, 4: 2, 6: 4}[color_type]
    deep = np.random.default_rng(0).integers(0, 65536, (24, 32, samples), dtype=np.uint16)
    if color_type > 2:
        deep[..., -1] = 65535
    decoded = decode(png_of_sixteen_bits(deep, color_type), RGB)
    expected = (deep >> 8).astype(np.uint8)[..., : samples - (color_type > 2)]
    assert np.array_equal(decoded.transpose(1, 2, 0), np.broadcast_to(expected, (24, 32, 3)))


def test_a_tiff_of_three_times_sixteen_bits_keeps_its_upper_bytes() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (24, 32, 3), dtype=np.uint16)
    assert np.array_equal(decode(tiff_of_sixteen_bits(deep, 2), RGB).transpose(1, 2, 0), deep >> 8)


def test_a_tiff_that_stores_white_as_zero_is_turned_dark_side_low() -> None:
    """X-ray scanners write it so. Pillow inverts 8 bits by itself, and leaves 16 as they are."""
    deep = (np.arange(24 * 32, dtype=np.uint16) * 85).reshape(24, 32)
    assert np.array_equal(decode(tiff_of_sixteen_bits(deep, 1), GRAY)[0], deep >> 8)
    assert np.array_equal(decode(tiff_of_sixteen_bits(deep, 0), GRAY)[0], (65535 - deep) >> 8)


def test_a_tile_larger_than_the_limit_is_refused_however_small_the_image() -> None:
    data = tiff_of_sixteen_bits(np.zeros((24, 32), np.uint16), 1, (322, 20_000), (323, 20_000))
    with pytest.raises(ImageTooLarge, match="20000 x 20000"):
        decode(data, GRAY)


def test_wider_integers_are_clipped_to_sixteen_bits() -> None:
    deep = np.array([[-5, 0, 256, 65535, 70_000]], dtype=np.int32)
    decoded = decode(encode(Image.fromarray(deep), "TIFF"), InputSpec(1, 1, 5))
    assert decoded.tolist() == [[[0, 0, 1, 255, 255]]]


def test_a_color_space_that_pillow_reads_and_cannot_convert_is_refused() -> None:
    with pytest.raises(BrokenImage, match="LAB"):
        decode(encode(Image.new("LAB", (32, 24)), "TIFF"), GRAY)


def test_stretch_keeps_everything_and_crop_the_center() -> None:
    wide = Image.new("RGB", (300, 100), (255, 0, 0))
    wide.paste((0, 255, 0), (100, 0, 200, 100))
    stretched = prepare(wide, InputSpec(3, 30, 30, "stretch"))
    assert stretched[:, 15, 2].tolist() == [255, 0, 0]
    assert stretched[:, 15, 15].tolist() == [0, 255, 0]
    tall = wide.rotate(90, expand=True)
    for image in (wide, tall):
        inner = prepare(image, InputSpec(3, 30, 30, "crop"))[
            :, 1:-1, 1:-1
        ]  # the filter blends the outermost pixels
        assert np.all(inner == np.array([0, 255, 0])[:, None, None])


def test_crop_keeps_the_proportions_that_the_model_expects() -> None:
    square = Image.new("L", (100, 100), 0)
    square.paste(255, (0, 25, 100, 75))  # the middle half, which is what a 2 : 1 model sees
    cropped = prepare(square, InputSpec(1, 20, 40, "crop"))
    assert np.all(cropped[:, 1:-1] == 255)
    assert np.all(cropped > 150)  # the filter blends the outermost rows


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([1, 3]),
    st.sampled_from(["stretch", "crop"]),
)
def test_any_size_becomes_the_models(width: int, height: int, channels: Any, resize: Any) -> None:
    pixels = prepare(
        Image.new("RGB", (width, height), (7, 7, 7)), InputSpec(channels, 9, 13, resize)
    )
    assert pixels.shape == (channels, 9, 13)
    assert np.all(pixels == 7)


def test_of_several_frames_the_first_is_taken() -> None:
    frames = [Image.new("L", (32, 24), value) for value in (10, 20, 30)]
    tiff = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert np.all(decode(tiff, GRAY) == 10)


def test_no_bytes_are_refused() -> None:
    with pytest.raises(EmptyImage, match="empty"):
        decode(b"", GRAY)


GIF = encode(Image.new("P", (4, 4)), "GIF")


@pytest.mark.parametrize(
    "data", [b"not an image", b'{"image": 1}', b"\0" * 100, b"%PDF-1.7", b"\xff\xd8", GIF]
)
def test_what_is_no_image_is_refused_with_the_formats_that_are_read(data: bytes) -> None:
    with pytest.raises(UnknownImage, match=", ".join(KNOWN)):
        decode(data, GRAY)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("keep", [0.5, 0.8])
def test_an_image_that_is_cut_short_is_broken(image_format: str, keep: float) -> None:
    data = encode(Image.fromarray(random_pixels(24, 32, 3)), image_format)
    with pytest.raises(ImageError) as caught:
        decode(data[: int(keep * len(data))], RGB)
    if image_format in (
        "PNG",
        "JPEG",
        "BMP",
    ):  # the directory of a TIFF is at its end; a WebP is read whole
        assert isinstance(caught.value, BrokenImage)


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    data = bomb(20_000)
    start = time.process_time()
    with pytest.raises(ImageTooLarge, match="20000 x 20000"):
        decode(data, GRAY)
    assert time.process_time() - start < 0.1


def test_the_limit_is_the_callers_and_inclusive(png: Callable[..., bytes]) -> None:
    data = png(size=(40, 30))
    assert decode(data, RGB, max_pixels=1200).shape == (3, 24, 32)
    with pytest.raises(ImageTooLarge, match=r"40 x 30 pixels, the limit is 1199"):
        decode(data, RGB, max_pixels=1199)


@functools.cache
def bomb(side: int) -> bytes:
    """A whole and valid PNG of side x side black pixels, some 50 kB for 20,000."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return png_of(parts)


def png_of(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks (kind, body)."""
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_the_bomb_is_a_real_image() -> None:
    assert np.all(decode(bomb(64), InputSpec(1, 64, 64)) == 0)
    assert len(bomb(20_000)) < 100_000


def _seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E] = 6, "a description"
    deep = Image.fromarray((np.arange(768, dtype=np.uint16) * 85).reshape(24, 32))
    return [
        encode(smooth()),
        encode(smooth().quantize(16), transparency=1),
        encode(smooth("RGBA"), exif=exif),
        encode(deep),
        encode(smooth(), "JPEG", exif=exif),
        encode(smooth("CMYK"), "JPEG", progressive=True),
        encode(smooth(), "BMP"),
        encode(smooth(), "WEBP", exif=exif),
        encode(smooth(), "TIFF", exif=exif),
        encode(smooth(), "TIFF", compression="tiff_lzw"),
        encode(smooth("F"), "TIFF"),
    ]


edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6), st.integers(0, 6)),
    max_size=6,
)


@given(
    st.sampled_from(_seeds()),
    edits,
    st.floats(0, 1),
    st.sampled_from([GRAY, InputSpec(3, 8, 8, "crop")]),
)
def test_damage_of_any_kind_is_named_or_harmless(
    data: bytes, edits: list[tuple[float, bytes, int]], keep: float, spec: InputSpec
) -> None:
    damaged = bytearray(data)
    for where, new, removed in edits:
        at = int(where**2 * len(damaged))  # headers are where it hurts
        damaged[at : at + removed] = new
    damaged = damaged[: max(1, int(len(damaged) * min(1.0, 2 * keep)))]
    try:
        pixels = decode(bytes(damaged), spec)
    except ImageError:
        return
    assert pixels.shape == (spec.channels, spec.height, spec.width)


@given(st.binary(max_size=200))
def test_any_bytes_are_named_or_an_image(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode(data, GRAY)


def test_metadata_that_cannot_be_packed_again_raises_no_foreign_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pillow rewrites the EXIF block when it turns an image, and lets struct.error out if that
    fails.
    """

    def fail(image: Image.Image) -> Image.Image:
        raise struct.error("required argument is not an integer")

    turned = Image.Exif()
    turned[ORIENTATION] = 6
    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    with pytest.raises(BrokenImage, match="not an integer"):
        decode(encode(smooth(), exif=turned), RGB)


def test_the_files_that_travel_into_archives_import_what_is_there() -> None:
    modules: set[str | None] = set()
    for path in Path(model_store.image.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
    own = {name for name in modules if str(name).startswith(("model_store.image", "pydicom"))}
    standard = {
        "collections.abc",
        "dataclasses",
        "importlib.util",
        "io",
        "logging",
        "pathlib",
        "struct",
        "typing",
        "warnings",
        "zlib",
    }
    assert modules - own <= standard | {
        "numpy",
        "numpy.typing",
        "PIL",
        "imagecodecs",
        "model_store.errors",
    }
