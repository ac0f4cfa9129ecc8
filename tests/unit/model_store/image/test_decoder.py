"""Images as senders have them: every color mode and orientation, damage, and bombs."""

import functools
import struct
import zlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model_store.errors import BrokenImage, EmptyImage, ImageError, ImageTooLarge, UnknownImage
from model_store.image import KNOWN, InputSpec, decode, prepare
from tests.builders.bundles import encode as encoded
from tests.builders.bundles import picture, png
from tests.builders.hostile_images import chunk, tiff
from tests.builders.hostile_images import png as zeros

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


smooth = functools.partial(picture, 0, (32, 24))


def encode(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    return encoded(image, image_format, **options)


def random_pixels(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "BMP", "WEBP"])
def test_lossless_pixels_arrive_as_they_were(image_format: str) -> None:
    pixels = random_pixels(24, 32, 3)
    options = {"lossless": True} if image_format == "WEBP" else {}
    decoded = decode(encode(Image.fromarray(pixels), image_format, **options), RGB)
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, pixels.transpose(2, 0, 1))
    assert decoded.flags.c_contiguous


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


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("spec", [GRAY, RGB])
def test_sixteen_bits_keep_their_upper_byte(spec: InputSpec, image_format: str) -> None:
    deep = (np.arange(24 * 32, dtype=np.uint16) * 85).reshape(24, 32)
    decoded = decode(encode(Image.fromarray(deep), image_format), spec)
    assert all(np.array_equal(channel, deep >> 8) for channel in decoded)


@pytest.mark.parametrize("color_type", [2, 4, 6])
def test_sixteen_bits_in_color_and_with_alpha_keep_their_upper_byte(color_type: int) -> None:
    """Pillow cannot write such a PNG; color type 2 is RGB, 4 gray with alpha, 6 RGB with it."""
    samples = {2: 3, 4: 2, 6: 4}[color_type]
    deep = np.random.default_rng(0).integers(0, 65536, (24, 32, samples), dtype=np.uint16)
    if color_type > 2:
        deep[..., -1] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in deep.astype(">u2"))
    header = struct.pack(">IIBBBBB", 32, 24, 16, color_type, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    expected = (deep >> 8)[..., : samples - (color_type > 2)]
    found = decode(data, RGB).transpose(1, 2, 0)
    assert np.array_equal(found, np.broadcast_to(expected, (24, 32, 3)))


@pytest.mark.parametrize(("photometric", "samples"), [(0, 1), (1, 1), (2, 3)])
def test_a_tiff_of_sixteen_bits_keeps_its_upper_bytes(photometric: int, samples: int) -> None:
    """X-ray scanners store white as zero. Pillow inverts only 8 bits by itself."""
    deep = np.random.default_rng(0).integers(0, 65536, (24, 32, samples), dtype=np.uint16)
    tags = {258: (3, [16] * samples), 262: (3, [photometric]), 277: (3, [samples])}
    found = decode(tiff(32, 24, tags=tags, pixels=deep.astype("<u2").tobytes()), RGB)
    expected = (65535 - deep if photometric == 0 else deep) >> 8
    assert np.array_equal(found.transpose(1, 2, 0), np.broadcast_to(expected, (24, 32, 3)))


def test_palettes_cmyk_and_bilevel_images_are_read() -> None:
    palette = smooth().quantize(16)
    for spec, mode in ((RGB, "RGB"), (GRAY, "L")):
        expected = np.atleast_3d(np.asarray(palette.convert(mode))).transpose(2, 0, 1)
        assert np.array_equal(decode(encode(palette), spec), expected)
    cmyk = encode(smooth("CMYK"), "JPEG", quality=100)
    assert np.abs(decode(cmyk, RGB).astype(int) - decode(encode(smooth()), RGB)).max() < 20
    assert set(np.unique(decode(encode(smooth("1")), RGB))) == {0, 255}


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
    # The filter blends the outermost pixels.
    for image, size in (
        (wide, (30, 30)),
        (wide.rotate(90, expand=True), (30, 30)),
        (wide, (30, 20)),
    ):
        inner = prepare(image, InputSpec(3, *size, "crop"))[:, 1:-1, 1:-1]
        assert np.all(inner == np.array([0, 255, 0])[:, None, None])


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


GIF = encode(Image.new("P", (4, 4)), "GIF")


def test_what_is_no_image_is_refused_with_the_formats_that_are_read() -> None:
    for data in [b"", b"not an image", b'{"image": 1}', b"\0" * 100, b"%PDF-1.7", b"\xff\xd8", GIF]:
        with pytest.raises(
            UnknownImage if data else EmptyImage, match=", ".join(KNOWN) if data else "empty"
        ):
            decode(data, GRAY)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("keep", [0.5, 0.8])
def test_an_image_that_is_cut_short_is_broken(image_format: str, keep: float) -> None:
    data = encode(Image.fromarray(random_pixels(24, 32, 3)), image_format)
    with pytest.raises(ImageError) as caught:
        decode(data[: int(keep * len(data))], RGB)
    # The directory of a TIFF is at its end; a WebP is read whole.
    if image_format in ("PNG", "JPEG", "BMP"):
        assert isinstance(caught.value, BrokenImage)


def test_a_bomb_is_refused_by_its_header_alone() -> None:
    data = zeros(20_000, 20_000, color=0, depth=1)
    assert len(data) < 100_000
    with pytest.raises(ImageTooLarge):
        decode(data[:200], GRAY)


def test_the_limit_is_the_callers_and_inclusive() -> None:
    data = png(size=(40, 30))
    assert decode(data, RGB, max_pixels=1200).shape == (3, 24, 32)
    with pytest.raises(ImageTooLarge, match="40 x 30"):
        decode(data, RGB, max_pixels=1199)


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
