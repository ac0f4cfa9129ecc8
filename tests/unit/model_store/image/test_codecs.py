"""DICOM in JPEG Lossless, JPEG of 12 bits, JPEG-LS and HTJ2K: pixels, bounds, what is missing."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model_store.errors import BrokenImage, ImageTooComplex, UnsupportedImage
from model_store.image import InputSpec, decode, open_image
from tests.builders.dicoms import dicom, dicom_frames

imagecodecs = pytest.importorskip("imagecodecs")
EXTENDED, PROCESS_14, SV1, JPEG_LS, NEAR, HTJ2K = (
    f"1.2.840.10008.1.2.4.{number}" for number in (51, 57, 70, 80, 81, 201)
)
SHAPE = (48, 64)


def picture(bits: int, *, color: bool = False) -> npt.NDArray[Any]:
    """Smooth with noise, of so many bits."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    noise = np.random.default_rng(0).integers(0, 2 ** (bits - 6), (*SHAPE, 3))
    values = (np.sin(x / 9) + np.cos(y / 7) + 2)[..., np.newaxis] * (
        2**bits - 2 ** (bits - 5)
    ) / 4 + noise
    pixels = values.astype(np.uint8 if bits == 8 else np.uint16)
    return pixels if color else np.ascontiguousarray(pixels[..., 0])


def lossless_jpeg(pixels: npt.NDArray[Any], predictor: int = 1) -> bytes:
    bits = max(8, int(pixels.max()).bit_length())
    return bytes(
        imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits)
    )


def htj2k(pixels: npt.NDArray[Any]) -> bytes:
    return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))


def jpeg_ls(pixels: npt.NDArray[Any]) -> bytes:
    return bytes(imagecodecs.jpegls_encode(pixels))


LOSSLESS: dict[str, tuple[str, Callable[[npt.NDArray[Any]], bytes]]] = {
    "process 14": (PROCESS_14, lambda pixels: lossless_jpeg(pixels, predictor=4)),
    "selection value 1": (SV1, lossless_jpeg),
    "JPEG-LS": (JPEG_LS, jpeg_ls),
    "HTJ2K": (HTJ2K, htj2k),
}


def shown(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(open_image(data))


def test_lossless_gray_is_shown_as_uncompressed() -> None:
    for name in LOSSLESS:
        for bits in [8, 12, 16]:
            syntax, encode = LOSSLESS[name]
            pixels = picture(bits)
            data = dicom_frames([encode(pixels)], syntax, SHAPE, pixels.dtype, BitsStored=bits)
            assert np.array_equal(shown(data), shown(dicom(pixels, BitsStored=bits)))


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_color_is_shown_as_uncompressed(name: str) -> None:
    syntax, encode = LOSSLESS[name]
    pixels = picture(8, color=True)
    data = dicom_frames([encode(pixels)], syntax, pixels.shape, np.uint8)
    assert np.array_equal(shown(data), pixels)


@pytest.mark.parametrize("name", ["process 14", "selection value 1", "JPEG-LS"])
def test_signed_values_keep_their_sign(name: str) -> None:
    """CT: the codestream holds 12 bits, the highest of which is the sign."""
    syntax, encode = LOSSLESS[name]
    signed = picture(12).astype(np.int16) - 2048
    data = dicom_frames(
        [encode((signed & 0xFFF).astype(np.uint16))], syntax, SHAPE, np.int16, BitsStored=12
    )
    assert np.array_equal(shown(data), shown(dicom(signed, BitsStored=12)))


def test_lossy_frames_are_within_their_bounds() -> None:
    window = {"WindowCenter": 128, "WindowWidth": 256}
    deep, flat = picture(12), picture(8)
    extended = bytes(imagecodecs.jpeg8_encode(deep, level=98, bitspersample=12))
    near = bytes(imagecodecs.jpegls_encode(flat, level=2))
    for lossy, plain, most in (
        (
            dicom_frames([extended], EXTENDED, SHAPE, np.uint16, BitsStored=12),
            dicom(deep, BitsStored=12),
            3,
        ),
        (dicom_frames([near], NEAR, SHAPE, np.uint8, **window), dicom(flat, **window), 2),
    ):
        assert np.abs(shown(lossy).astype(int) - shown(plain)).max() <= most


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_frame_of_another_size_or_kind_is_broken(name: str) -> None:
    syntax, encode = LOSSLESS[name]
    stream = encode(picture(12))
    for shape, dtype in (
        ((47, 64), np.uint16),
        ((48, 65), np.uint16),
        ((4800, 6400), np.uint16),
        (SHAPE, np.uint8),
    ):
        with pytest.raises(BrokenImage, match="announces"):
            shown(dicom_frames([stream], syntax, shape, dtype))
    with pytest.raises(BrokenImage, match="announces"):
        shown(dicom_frames([stream], syntax, (*SHAPE, 3), np.uint8))


@pytest.mark.parametrize("name", ["process 14", "selection value 1", "HTJ2K"])
def test_a_damaged_frame_is_named_or_harmless(name: str) -> None:
    """Not of JPEG-LS: CharLS takes seconds for some; the server ends its process then."""
    syntax, encode = LOSSLESS[name]
    stream, random = encode(picture(12)), np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(stream[: random.integers(80, len(stream))])
        damaged[random.integers(0, len(damaged))] ^= 0xFF
        try:
            shown(dicom_frames([bytes(damaged)], syntax, SHAPE, np.uint16, BitsStored=12))
        except (BrokenImage, ImageTooComplex):
            continue


def test_scans_and_tiles_are_counted_before_they_cost_anything() -> None:
    scans = lossless_jpeg(picture(12)) + b"\xff\xda" * 101
    with pytest.raises(ImageTooComplex, match="scans; the limit is 100"):
        shown(dicom_frames([scans], SV1, SHAPE, np.uint16, BitsStored=12))
    tiles = bytearray(htj2k(picture(12)))
    struct.pack_into(">2I", tiles, 8, 640, 480)
    struct.pack_into(">2I", tiles, 24, 1, 1)
    with pytest.raises(ImageTooComplex, match="307,200 tiles; the limit is 4,096"):
        shown(dicom_frames([bytes(tiles)], HTJ2K, (480, 640), np.uint16, BitsStored=12))


@pytest.mark.parametrize("syntax", [SV1, JPEG_LS, HTJ2K, EXTENDED])
def test_without_the_extra_they_are_refused_by_name_with_what_to_install(
    syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_store.image.dicom_pixels.available", lambda: False)
    data = dicom_frames([b"\xff\xd8\xff\xd9"], syntax, SHAPE, np.uint16, BitsStored=12)
    with pytest.raises(UnsupportedImage, match="imagecodecs"):
        decode(data, InputSpec(1, 8, 8))
