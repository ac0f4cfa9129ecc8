"""DICOM as machines write it: windows, bits and signs, gray, compressions, damage."""

import tracemalloc
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from model_store.errors import BrokenImage, ImageError, ImageTooLarge, UnsupportedImage
from model_store.image import InputSpec, decode, open_image
from model_store.image.gray import as_gray
from tests.builders.dicoms import dicom, dicom_frames, dicom_rle, encoded, header, saved
from tests.builders.hostile_images import packed_plane, rle_frame

RAMP = np.arange(-1024, 1024, 4, dtype=np.int16).reshape(16, 32)


def shown(data: bytes, **options: Any) -> npt.NDArray[np.uint8]:
    """What the decoder makes of a file, at its own size: (H, W) or (H, W, 3)."""
    return np.asarray(open_image(data, **options))


def smooth(dtype: Any = np.uint8, top: int = 255) -> npt.NDArray[Any]:
    """A gentle picture, 24 x 32, from 0 to `top`."""
    y, x = np.mgrid[:24, :32]
    return np.rint((np.sin(x / 9) + np.cos(y / 7) + 2) / 4 * top).astype(dtype)


def lookup() -> bytes:
    item = Dataset()
    item.LUTDescriptor = [4, 10, 8]
    item.add_new("LUTData", "OW", np.array([0, 40, 200, 255], "<u2").tobytes())
    return dicom(np.array([[9, 10, 11, 12, 13, 99]], np.uint16), VOILUTSequence=[item])


def palette() -> bytes:
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for number, name in enumerate(("Red", "Green", "Blue"), 1):
        levels = np.arange(4, dtype="<u2") * 0x1100 * number
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = levels.tobytes()
    return dicom(np.array([[0, 1], [2, 3]], np.uint8), **tags)


def stored(pixels: npt.NDArray[Any], kind: str, data: bytes, *syntax: str, **tags: Any) -> bytes:
    """A file whose pixel data are these bytes."""
    dataset = header(pixels.shape, pixels.dtype, **tags)
    dataset.add_new("PixelData", kind, data)
    return saved(dataset, *syntax)


def littered(values: list[int], dtype: Any) -> tuple[bytes, bytes]:
    """Values of 12 bits, in files with something and with nothing in the four bits above."""
    window = {"WindowCenter": (min(values) + max(values) + 1) // 2, "WindowWidth": 4096}
    plain = np.array([values])
    above = (plain & 0x0FFF | 0x5000).astype(np.uint16).view(dtype)
    return dicom(above, BitsStored=12, **window), dicom(plain.astype(dtype), **window)


def ends(dtype: Any) -> npt.NDArray[Any]:
    limits = np.iinfo(dtype)
    return np.array([[limits.min, limits.max // 2 + limits.min // 2, limits.max]], dtype)


def packed(dtype: Any) -> tuple[bytes, bytes]:
    top, low = (3000, 500) if np.dtype(dtype).itemsize > 1 else (255, 0)
    pixels = (smooth(np.int64, top) - (low if dtype is np.int16 else 0)).astype(dtype)
    return dicom_rle(pixels), dicom(pixels)


THREE = np.array([[100, 150, 200]], np.uint16)
COLORS = np.random.default_rng(0).integers(0, 4, (24, 32, 3), dtype=np.uint8)
PLANES = np.ascontiguousarray(COLORS.transpose(2, 0, 1)).tobytes()
# What is stored, and what is shown of it: these levels, or the same as of another file.
SHOWN: dict[str, tuple[bytes, Any]] = {
    "the first of several windows": (
        dicom(RAMP, WindowCenter=[40, 600], WindowWidth=[80, 2800]),
        dicom(RAMP, WindowCenter=40, WindowWidth=80),
    ),
    "no window": (dicom(THREE), [[0, 128, 255]]),
    "no window and a negative slope": (dicom(THREE, RescaleSlope=-2), [[255, 128, 0]]),
    "one value": (dicom(np.full((2, 2), 7, np.uint16)), [[0, 0], [0, 0]]),
    "padding": (
        dicom(np.array([[-2000, 100, 150, 200]], np.int16), PixelPaddingValue=-2000),
        [[0, 0, 128, 255]],
    ),
    **{
        f"a width of {width!r}": (dicom(RAMP, WindowCenter=40, WindowWidth=width), dicom(RAMP))
        for width in (0, -5, "")
    },
    "a width of one": (
        dicom(np.array([[38, 39, 40, 41]], np.int16), WindowCenter=40, WindowWidth=1),
        [[0, 0, 255, 255]],
    ),
    "a lookup table": (lookup(), [[0, 0, 40, 200, 255, 255]]),
    "a palette": (
        palette(),
        [[[0, 0, 0], [0x11, 0x22, 0x33]], [[0x22, 0x44, 0x66], [0x33, 0x66, 0x99]]],
    ),
    "unsigned values of 12 bits": littered([0, 1, 2048, 4094, 4095], np.uint16),
    "signed values of 12 bits": littered([-2048, -1, 0, 1, 2047], np.int16),
    "big endian": (
        stored(RAMP, "OW", RAMP.astype(">i2").tobytes(), ExplicitVRBigEndian),
        dicom(RAMP),
    ),
    "colors by pixel": (dicom(COLORS), COLORS),
    "colors by plane": (stored(COLORS, "OB", PLANES, PlanarConfiguration=1), COLORS),
    "colors in RLE": (dicom_rle(COLORS), COLORS),
    **{f"{dtype.__name__} in RLE": packed(dtype) for dtype in (np.uint8, np.uint16, np.int16)},
}
# The same, but for so many levels.
NEARLY: dict[str, tuple[bytes, Any, int]] = {
    **{
        f"the ends of {dtype.__name__}": (dicom(ends(dtype)), [[0, 128, 255]], 1)
        for dtype in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32)
    },
    **{
        f"JPEG, {syntax.name}": (
            dicom_frames([encoded(smooth(), "JPEG", quality=100)], syntax, (24, 32), np.uint8),
            dicom(smooth()),
            4,
        )
        for syntax in (JPEGBaseline8Bit, JPEGExtended12Bit)
    },
}


@pytest.mark.parametrize("case", SHOWN | NEARLY)
def test_a_file_is_shown_as_it_is_meant(case: str) -> None:
    data, expected, *most = (SHOWN | NEARLY)[case]
    wanted = shown(expected) if isinstance(expected, bytes) else np.array(expected)
    found = shown(data).astype(int)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= sum(most)


def test_a_model_may_have_a_window() -> None:
    data = dicom(RAMP, WindowCenter=[40, 600], WindowWidth=[80, 2800])
    found = decode(data, InputSpec(1, 16, 32, window=(600.0, 2800.0)))
    assert np.array_equal(found[0], shown(dicom(RAMP, WindowCenter=600, WindowWidth=2800)))


@pytest.mark.parametrize("tags", [{}, {"WindowCenter": 0, "WindowWidth": 900}])
def test_monochrome1_is_inverted(tags: dict[str, Any]) -> None:
    inverted = dicom(RAMP, PhotometricInterpretation="MONOCHROME1", **tags)
    assert np.array_equal(255 - shown(dicom(RAMP, **tags)), shown(inverted))


@settings(max_examples=60)
@given(
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    st.integers(-500, 500),
    st.integers(2, 2000),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([-1024.0, 0.0, 10.0]),
)
def test_a_window_is_as_pydicom_computes_it(
    function: str, center: int, width: int, slope: float, intercept: float
) -> None:
    """PS3.3 C.11.2.1.2."""
    tags: dict[str, Any] = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    tags |= {"WindowCenter": center, "WindowWidth": width, "VOILUTFunction": function}
    with np.errstate(over="ignore"):
        oracle = apply_windowing(RAMP * slope + intercept, header(RAMP.shape, RAMP.dtype, **tags))
    # The range that pydicom fills.
    low, high = -(2**15) * slope + intercept, (2**15 - 1) * slope + intercept
    expected = (oracle - low) / (high - low) * 255
    assert np.abs(shown(dicom(RAMP, **tags)) - expected).max() <= 0.5 + 1e-6


def test_another_compression_is_refused_by_its_name() -> None:
    syntax = DeflatedExplicitVRLittleEndian
    data = dicom_frames([b"\xff\xd8\xff\xd9"], syntax, (24, 32), np.uint8)
    with pytest.raises(UnsupportedImage, match=syntax.name.split(",")[0]):
        shown(data)


class TestBounds:
    """What a file announces is held to the limit before it costs anything."""

    def test_rows_and_columns(self) -> None:
        assert shown(dicom(RAMP), max_pixels=RAMP.size).shape == RAMP.shape
        with pytest.raises(ImageTooLarge, match=r"32 x 16 pixels, the limit is 511"):
            shown(dicom(RAMP), max_pixels=511)
        with pytest.raises(ImageTooLarge, match="65535 x 65535"):
            shown(dicom(RAMP, Rows=65535, Columns=65535))

    @pytest.mark.slow
    def test_a_deflated_bomb_is_not_unpacked(self) -> None:
        plain = saved(header((4, 4), np.uint8))
        body = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = body.compress(bytes(200_000_000)) + body.flush()
        meta = plain[: plain.index(b"\x08\x00\x16\x00")]
        meta = meta.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
        data = bytearray(meta + bomb)
        at = data.index(b"1.2.840.10008.1.2.1.99")
        data[at - 2 : at] = (22).to_bytes(2, "little")
        data[140:144] = (int.from_bytes(data[140:144], "little") + 2).to_bytes(4, "little")
        tracemalloc.start()
        with pytest.raises(UnsupportedImage, match="Deflated"):
            shown(bytes(data))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()

    def test_a_compressed_frame_larger_than_the_file_says(self) -> None:
        frame = encoded(np.zeros((3000, 3000), np.uint8), "JPEG")
        data = dicom_frames([frame], JPEGBaseline8Bit, (24, 32), np.uint8)
        with pytest.raises(BrokenImage, match="announces 32 x 24"):
            shown(data)

    def test_rle_that_would_unpack_to_more_than_the_plane(self) -> None:
        """It weighs 2 MB and would unpack to 128; Pillow stops at the plane's end."""
        data = dicom_frames([rle_frame(packed_plane(2**27))], RLELossless, (8, 8), np.uint8)
        tracemalloc.start()
        assert shown(data).shape == (8, 8)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()
        with pytest.raises(BrokenImage):
            shown(dicom_frames([rle_frame(packed_plane(64))], RLELossless, (64, 64), np.uint8))


class TestDamage:
    def test_short_absent_or_strange_pixels(self) -> None:
        for data in (dicom(RAMP, keep=RAMP.nbytes - 2), dicom(RAMP)[:-100]):
            with pytest.raises(BrokenImage, match="DICOM"):
                shown(data)
        with pytest.raises(UnsupportedImage, match=r"CT Image Storage"):
            shown(saved(header((2, 2), np.uint8)))
        with pytest.raises(UnsupportedImage, match="HSV"):
            shown(dicom(RAMP, PhotometricInterpretation="HSV"))

    def test_a_header_without_sense(self) -> None:
        for tags in [
            {"Rows": 0},
            {"RescaleSlope": "1e999"},
            {"BitsStored": 0, "HighBit": 0},
            {"SamplesPerPixel": 2},
            {"BitsAllocated": 12},
            {"PixelRepresentation": 9},
        ]:
            with pytest.raises(ImageError):
                shown(dicom(RAMP, **tags))

    def test_without_pydicom_it_is_refused_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
        with pytest.raises(UnsupportedImage, match="pydicom is not installed"):
            shown(dicom(RAMP))

    @pytest.mark.slow
    @settings(max_examples=150)
    @given(st.data())
    def test_of_any_kind_is_named_or_harmless(self, data: st.DataObject) -> None:
        seed = data.draw(st.sampled_from(SEEDS))
        edits = data.draw(
            st.lists(
                st.tuples(
                    st.floats(0, 1, exclude_max=True), st.binary(max_size=6), st.integers(0, 6)
                ),
                max_size=6,
            )
        )
        damaged = bytearray(seed)
        for where, new, removed in edits:
            at = 132 + int(where * (len(damaged) - 132))
            damaged[at : at + removed] = new
        try:
            pixels = decode(bytes(damaged), InputSpec(1, 8, 8), max_pixels=1 << 20)
        except ImageError:
            return
        assert pixels.shape == (1, 8, 8)


SEEDS = [
    dicom(
        RAMP, WindowCenter=[40, 600], WindowWidth=[80, 2800], RescaleSlope=1, RescaleIntercept=-24
    ),
    dicom(
        smooth(np.uint16, 4000),
        BitsStored=12,
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=0,
    ),
    dicom(np.zeros((6, 8, 3), np.uint8)),
    dicom_rle(smooth()),
    dicom_rle(smooth(np.uint16, 4000)),
    dicom_frames([encoded(smooth(), "JPEG")], JPEGBaseline8Bit, (24, 32), np.uint8),
    dicom_frames(
        [encoded(smooth(np.uint16, 4000), "JPEG2000", no_jp2=True)], JPEG2000, (24, 32), np.uint16
    ),
    dicom(RAMP, frames=2),
]


WINDOW = (40.0, 400.0)


def windowed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """PS3.3 C.11.2.1.2.1, pixel by pixel."""
    center, width = WINDOW
    shares = (values - (center - 0.5)) / (width - 1) + 0.5
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def test_a_window_gives_each_stored_value_its_gray() -> None:
    for kind, low, high in [
        (np.uint8, 0, 2**8),
        (np.int8, -(2**7), 2**7),
        (np.uint16, 0, 2**16),
        (np.int16, -(2**15), 2**15),
        (np.int16, -1024, 3072),
        (np.uint16, 7, 8),
        (np.uint32, 2**20, 2**20 + 2**16),
        (np.int32, -(2**16) - 5, -5),
        (np.int32, -(2**20), 2**20),
    ]:
        for shape in [(1, 1), (3, 5), (300, 700)]:
            pixels = np.random.default_rng(0).integers(low, high, shape).astype(kind)
            pixels.flat[0], pixels.flat[-1] = low, high - 1
            dataset = Dataset()
            dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "-100"
            expected = windowed(pixels.astype(np.float64) * 0.5 - 100)
            assert np.array_equal(as_gray(pixels, dataset, WINDOW), expected)


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_without_a_window_the_ends_are_those_beside_padding(kind: type[np.integer]) -> None:
    pixels = np.array([[-2000, 0, 50, 100]]).astype(kind)
    dataset = Dataset()
    dataset.add_new("PixelPaddingValue", "SS" if kind is np.int16 else "US", int(pixels[0, 0]))
    assert as_gray(pixels, dataset, None)[0, 1:].tolist() == [0, 128, 255]
    assert as_gray(pixels[:, :1], dataset, None).shape == (1, 1)  # nothing but padding
