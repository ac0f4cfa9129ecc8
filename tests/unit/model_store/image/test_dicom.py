"""DICOM as machines write it: windows, rescale, bits and signs, colors, compressions, damage."""

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


class TestWindow:
    """PS3.3 C.11.2.1.2, by hand and against pydicom."""

    def test_of_several_windows_the_first_unless_the_model_has_one(self) -> None:
        data = dicom(RAMP, WindowCenter=[40, 600], WindowWidth=[80, 2800])
        assert np.array_equal(shown(data), shown(dicom(RAMP, WindowCenter=40, WindowWidth=80)))
        spec = InputSpec(1, 16, 32, window=(600.0, 2800.0))
        of_model = shown(dicom(RAMP, WindowCenter=600, WindowWidth=2800))
        assert np.array_equal(decode(data, spec)[0], of_model)

    def test_without_a_window_from_the_smallest_to_the_largest_value(self) -> None:
        assert shown(dicom(np.array([[100, 150, 200]], np.uint16))).tolist() == [[0, 128, 255]]
        assert shown(dicom(np.array([[100, 150, 200]], np.uint16), RescaleSlope=-2)).tolist() == [
            [255, 128, 0]
        ]
        assert shown(dicom(np.full((2, 2), 7, np.uint16))).tolist() == [[0, 0], [0, 0]]

    def test_padding_does_not_stretch_it(self) -> None:
        stored = np.array([[-2000, 100, 150, 200]], np.int16)
        assert shown(dicom(stored, PixelPaddingValue=-2000)).tolist() == [[0, 0, 128, 255]]

    @pytest.mark.parametrize("width", [0, -5, ""])
    def test_a_width_that_is_none_is_as_no_window(self, width: Any) -> None:
        data = dicom(RAMP, WindowCenter=40, WindowWidth=width)
        assert np.array_equal(shown(data), shown(dicom(RAMP)))

    def test_a_width_of_one_is_a_threshold(self) -> None:
        stored = np.array([[38, 39, 40, 41]], np.int16)
        assert shown(dicom(stored, WindowCenter=40, WindowWidth=1)).tolist() == [[0, 0, 255, 255]]

    @settings(max_examples=60)
    @given(
        st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
        st.integers(-500, 500),
        st.integers(2, 2000),
        st.sampled_from([0.5, 1.0, 2.0]),
        st.sampled_from([-1024.0, 0.0, 10.0]),
    )
    def test_as_pydicom_computes_it(
        self, function: str, center: int, width: int, slope: float, intercept: float
    ) -> None:
        tags = {"WindowCenter": center, "WindowWidth": width, "VOILUTFunction": function}
        data = dicom(RAMP, RescaleSlope=slope, RescaleIntercept=intercept, **tags)
        with np.errstate(over="ignore"):
            oracle = apply_windowing(
                RAMP * slope + intercept, _tags(slope=slope, intercept=intercept, **tags)
            )
        # The range that pydicom fills.
        low, high = -(2**15) * slope + intercept, (2**15 - 1) * slope + intercept
        expected = (oracle - low) / (high - low) * 255
        assert np.abs(shown(data) - expected).max() <= 0.5 + 1e-6

    def test_a_lookup_table_is_followed(self) -> None:
        item = Dataset()
        item.LUTDescriptor = [4, 10, 8]
        item.add_new("LUTData", "OW", np.array([0, 40, 200, 255], "<u2").tobytes())
        data = dicom(np.array([[9, 10, 11, 12, 13, 99]], np.uint16), VOILUTSequence=[item])
        assert shown(data).tolist() == [[0, 0, 40, 200, 255, 255]]


def _tags(*, slope: float, intercept: float, **tags: Any) -> Dataset:
    return header(RAMP.shape, RAMP.dtype, RescaleSlope=slope, RescaleIntercept=intercept, **tags)


class TestPixels:
    def test_monochrome1_is_inverted(self) -> None:
        for tags in ({}, {"WindowCenter": 0, "WindowWidth": 900}):
            plain, inverted = (
                dicom(RAMP, **tags),
                dicom(RAMP, PhotometricInterpretation="MONOCHROME1", **tags),
            )
            assert np.array_equal(255 - shown(plain), shown(inverted))

    def test_every_width_and_sign(self) -> None:
        for dtype in [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32]:
            ends = np.iinfo(dtype)
            stored = np.array([[ends.min, ends.max // 2 + ends.min // 2, ends.max]], dtype)
            assert np.abs(shown(dicom(stored)).astype(int) - [[0, 128, 255]]).max() <= 1

    @pytest.mark.parametrize(("dtype", "sign"), [(np.uint16, 0), (np.int16, 1)])
    def test_bits_above_those_that_are_stored_are_not_the_images(
        self, dtype: Any, sign: int
    ) -> None:
        values = np.array([[-2048, -1, 0, 1, 2047]] if sign else [[0, 1, 2048, 4094, 4095]])
        littered = (values & 0x0FFF | 0x5000).astype(np.uint16).view(dtype)
        window = {"WindowCenter": 0 if sign else 2048, "WindowWidth": 4096}
        assert np.array_equal(
            shown(dicom(littered, BitsStored=12, **window)),
            shown(dicom(values.astype(dtype), **window)),
        )

    def test_big_endian(self) -> None:
        dataset = header(RAMP.shape, RAMP.dtype)
        dataset.add_new("PixelData", "OW", RAMP.astype(">i2").tobytes())
        assert np.array_equal(shown(saved(dataset, ExplicitVRBigEndian)), shown(dicom(RAMP)))

    def test_color_by_pixel_and_by_plane(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        assert np.array_equal(shown(dicom(pixels)), pixels)
        dataset = header(pixels.shape, pixels.dtype, PlanarConfiguration=1)
        dataset.add_new(
            "PixelData", "OB", np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()
        )
        assert np.array_equal(shown(saved(dataset)), pixels)

    def test_palettes_are_looked_up(self) -> None:
        tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
        for number, name in enumerate(("Red", "Green", "Blue")):
            tags[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
            tags[f"{name}PaletteColorLookupTableData"] = (
                np.arange(4, dtype="<u2") * 0x1100 * (number + 1)
            ).tobytes()
        data = dicom(np.array([[0, 1], [2, 3]], np.uint8), **tags)
        assert shown(data).tolist() == [
            [[0, 0, 0], [0x11, 0x22, 0x33]],
            [[0x22, 0x44, 0x66], [0x33, 0x66, 0x99]],
        ]


class TestCompression:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
    def test_rle_gray(self, dtype: Any) -> None:
        pixels = smooth(dtype, 3000 if np.dtype(dtype).itemsize > 1 else 255) - (
            500 if dtype is np.int16 else 0
        )
        assert np.array_equal(
            shown(dicom_rle(pixels.astype(dtype))), shown(dicom(pixels.astype(dtype)))
        )

    def test_rle_color(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 4, (24, 32, 3), dtype=np.uint8)
        assert np.array_equal(shown(dicom_rle(pixels)), pixels)

    @pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
    def test_jpeg(self, syntax: str) -> None:
        data = dicom_frames([encoded(smooth(), "JPEG", quality=100)], syntax, (24, 32), np.uint8)
        assert np.abs(shown(data).astype(int) - shown(dicom(smooth()))).max() <= 4

    def test_another_one_is_refused_by_its_name(self) -> None:
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
