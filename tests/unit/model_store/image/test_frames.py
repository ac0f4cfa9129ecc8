"""Chosen frames of DICOM files, and what a viewer gets of them."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from model_store.errors import (
    BrokenImage,
    ImageTooLarge,
    NoSuchFrame,
    TooManyFrames,
    UnsupportedImage,
)
from model_store.image import InputSpec, decode, decode_frames, read_choice
from model_store.image.dicom_pixels import GRAY_BYTES
from model_store.image.gray import as_gray
from model_store.image.viewing import LONGEST, Viewing, view
from tests.builders.dicoms import dicom, dicom_frames, dicom_rle, dicom_stack, encoded, header

SPEC = InputSpec(1, 16, 24)
STACK = np.random.default_rng(5).integers(0, 4096, (5, 40, 56)).astype(np.uint16)
STACK[:, 0, :2] = 0, 4095  # one range of all frames, in which a file without a window is shown


def one(frame: npt.NDArray[Any], **tags: Any) -> npt.NDArray[np.uint8]:
    """The model's input of a file that holds this frame alone, uncompressed."""
    return decode(dicom(frame, **tags), SPEC)


def rle(frame: npt.NDArray[Any]) -> bytes:
    """The packed frame in a file that pydicom wrote."""
    return get_frame(pydicom.dcmread(io.BytesIO(dicom_rle(frame))).PixelData, 0, number_of_frames=1)


def compressed(frames: list[bytes], syntax: str, **tags: Any) -> bytes:
    shape = STACK.shape[1:]
    return dicom_frames(frames, syntax, shape, np.uint16, NumberOfFrames=len(STACK), **tags)


JPEG_2000 = [encoded(frame, "JPEG2000", no_jp2=True) for frame in STACK]
FILES = {
    "uncompressed": dicom_stack(STACK),
    "RLE": compressed([rle(frame) for frame in STACK], RLELossless),
    "JPEG 2000": compressed(JPEG_2000, JPEG2000Lossless),
}


@pytest.mark.parametrize("name", FILES)
def test_each_frame_is_decoded_as_a_file_that_holds_it_alone(name: str) -> None:
    data = FILES[name]
    expected = [one(frame) for frame in STACK]
    found = decode_frames(data, SPEC, "all")
    assert (list(found.numbers), found.pixels.shape) == ([1, 2, 3, 4, 5], (5, 1, 16, 24))
    assert np.array_equal(found.pixels, expected)
    for number in range(1, 6):
        single = decode_frames(data, SPEC, number)
        assert list(single.numbers) == [number]
        assert np.array_equal(single.pixels, expected[number - 1 : number])
    assert np.array_equal(decode_frames(data, SPEC, "middle").pixels[0], expected[2])
    assert np.array_equal(decode(data, InputSpec(1, 16, 24, frames="first")), expected[0])
    with pytest.raises(UnsupportedImage, match="5 frames"):
        decode(data, SPEC)


def test_color_frames_and_jpeg() -> None:
    colors = np.random.default_rng(6).integers(0, 256, (3, 24, 32, 3)).astype(np.uint8)
    spec = InputSpec(3, 12, 16)
    found = decode_frames(dicom_stack(colors), spec, "all").pixels
    assert np.array_equal(found, [decode(dicom(frame), spec) for frame in colors])
    gray = [encoded(frame[..., 0].copy(), "JPEG", quality=90) for frame in colors]
    data = dicom_frames(gray, JPEGBaseline8Bit, (24, 32), np.uint8, NumberOfFrames=3)
    alone = [
        decode(dicom_frames([frame], JPEGBaseline8Bit, (24, 32), np.uint8), SPEC) for frame in gray
    ]
    assert np.array_equal(decode_frames(data, SPEC, "all").pixels, alone)


def test_an_offset_table_of_64_bits_finds_the_frames() -> None:
    frames = [frame + b"\0" * (len(frame) % 2) for frame in JPEG_2000]
    offsets = np.cumsum([0, *(8 + len(frame) for frame in frames[:-1])]).astype("<u8").tobytes()
    lengths = np.array([len(frame) for frame in frames], "<u8").tobytes()
    tags = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
    data = compressed(frames, JPEG2000Lossless, **tags)
    assert np.array_equal(decode_frames(data, SPEC, 4).pixels[0], one(STACK[3]))


def group(**values: float) -> Dataset:
    """A functional group with a rescale, a window, or both."""
    found = Dataset()
    for macro, names in (
        ("PixelValueTransformationSequence", ("RescaleSlope", "RescaleIntercept")),
        ("FrameVOILUTSequence", ("WindowCenter", "WindowWidth")),
    ):
        item = Dataset()
        for name in names:
            if name in values:
                setattr(item, name, values[name])
        if len(item):
            setattr(found, macro, Sequence([item]))
    return found


def test_an_enhanced_file_says_rescale_and_window_of_each_frame() -> None:
    shared = Sequence(
        [group(RescaleSlope=2.0, RescaleIntercept=-1000.0, WindowCenter=40.0, WindowWidth=400.0)]
    )
    each = Sequence(
        [
            group(),
            group(WindowCenter=600.0, WindowWidth=2800.0),
            group(RescaleSlope=1.0, RescaleIntercept=0.0),
        ]
    )
    data = dicom_stack(
        STACK[:3],
        SharedFunctionalGroupsSequence=shared,
        PerFrameFunctionalGroupsSequence=each,
        PixelPaddingValue=4095,
    )
    names = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "PixelPaddingValue")
    said = ((2, -1000, 40, 400, 4095), (2, -1000, 600, 2800, 4095), (1, 0, 40, 400, 4095))
    expected = [
        one(frame, **dict(zip(names, values, strict=True)))
        for frame, values in zip(STACK, said, strict=False)
    ]
    assert np.array_equal(decode_frames(data, SPEC, "all").pixels, expected)
    lung = InputSpec(1, 16, 24, window=(-600.0, 1500.0))
    alone = decode(dicom(STACK[0], RescaleSlope=2, RescaleIntercept=-1000), lung)
    assert np.array_equal(decode_frames(data, lung, 1).pixels[0], alone)
    assert (view(data, frames=2).center, view(data, frames="first").center) == (600.0, 40.0)


def test_a_frame_that_is_not_there_is_told_with_those_that_are() -> None:
    for number in (6, 999_999_999):
        with pytest.raises(NoSuchFrame, match=f"5 frames.* {number} "):
            decode_frames(dicom_stack(STACK), SPEC, number)


def test_too_many_frames_are_refused_before_any_is_decoded() -> None:
    broken = dicom_frames([b"none"], JPEG2000Lossless, (1000, 1000), np.uint8, NumberOfFrames=60)
    asked: list[int] = []
    with pytest.raises(TooManyFrames, match="50000000 pixels"):
        decode_frames(broken, SPEC, "all", reserve=asked.append)
    with pytest.raises(TooManyFrames, match=r"60 frames.* 59 "):
        decode_frames(broken, SPEC, "all", max_frames=59, max_pixels=10**9, reserve=asked.append)
    with pytest.raises(ImageTooLarge):
        decode_frames(broken, SPEC, 1, max_pixels=999_999, reserve=asked.append)
    assert asked == []
    with pytest.raises(BrokenImage):
        decode_frames(broken, SPEC, 1)


def test_memory_of_one_frame_and_of_all_inputs_is_reserved() -> None:
    asked: list[int] = []
    decode_frames(dicom_stack(STACK), SPEC, "all", reserve=asked.append)
    assert asked == [40 * 56 * (GRAY_BYTES + 4) + 5 * 2 * 16 * 24]


def test_a_file_with_fewer_frames_than_it_says_is_broken() -> None:
    data = compressed(JPEG_2000[:3], JPEG2000Lossless)
    for choice in ("all", 5):
        with pytest.raises(BrokenImage):
            decode_frames(data, SPEC, choice)


def test_other_formats_have_one_frame_and_animations_none_to_choose() -> None:
    image = encoded(np.arange(64, dtype=np.uint8).reshape(8, 8), "PNG")
    for choice in (1, "middle", "all"):
        found = decode_frames(image, SPEC, choice)
        assert list(found.numbers) == [1]
        assert np.array_equal(found.pixels[0], decode(image, SPEC))
    with pytest.raises(NoSuchFrame):
        decode_frames(image, SPEC, 2)
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 99)]
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(UnsupportedImage, match="a TIFF of several pictures"):
        decode_frames(stream.getvalue(), SPEC, "all")
    assert decode(stream.getvalue(), SPEC).max() == 0  # as ever: the first


def test_what_chooses_no_frame_is_told_so() -> None:
    for text in ["0", "-1", "1.5", "", "every", "٣", "1" * 10, " 1"]:
        with pytest.raises(ValueError, match="chooses no frame"):
            read_choice(text)


CT = np.array([[-1000, 40], [80, 3000]], np.int16)


def values(found: Viewing) -> Any:
    return found.offset + found.slope * found.samples[..., 0].astype(float)


def shown(found: Viewing) -> Any:
    """The gray that the page's script draws (viewer.js)."""
    share = (values(found) - (found.center - 0.5)) / max(1, found.width - 1) + 0.5
    return np.rint(255 * np.clip(1 - share if found.inverted else share, 0, 1)).astype(np.uint8)


def png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("tags", "window"),
    [
        ({}, None),
        ({"WindowCenter": 40, "WindowWidth": 80}, None),
        ({"WindowCenter": 40, "WindowWidth": 80, "RescaleSlope": 2, "RescaleIntercept": -24}, None),
        ({"WindowCenter": 40, "WindowWidth": 80}, (50.0, 350.0)),
    ],
)
def test_it_begins_with_the_gray_that_the_model_sees(
    tags: dict[str, Any], window: tuple[float, float] | None
) -> None:
    found = view(dicom(CT, **tags), window=window)
    expected = as_gray(CT, header(CT.shape, CT.dtype, **tags), window)
    np.testing.assert_allclose(shown(found), expected, atol=1)


def test_the_values_are_those_of_the_file_after_its_rescale() -> None:
    found = view(dicom(CT, RescaleSlope=0.5, RescaleIntercept=-24))
    np.testing.assert_allclose(values(found), CT * 0.5 - 24)
    assert (found.reduced, found.inverted) == (1, False)


def test_what_stores_white_as_the_lowest_value_says_so() -> None:
    pixels = np.arange(4, dtype=np.uint16).reshape(2, 2)
    assert view(dicom(pixels, PhotometricInterpretation="MONOCHROME1")).inverted


def test_values_of_32_bits_keep_their_range() -> None:
    pixels = np.array([[-(2**20), 0], [1, 2**20]], np.int32)
    found = view(dicom(pixels))
    np.testing.assert_allclose(values(found), pixels, atol=found.slope)


def test_a_large_image_is_reduced_by_means() -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (LONGEST * 2 + 1, 100), dtype=np.uint16)
    found = view(dicom(pixels))
    assert found.reduced == 3
    assert found.samples.shape == (pixels.shape[0] // 3, 33, 1)
    np.testing.assert_allclose(values(found)[0, 0], pixels[:3, :3].mean(), atol=0.5)


@pytest.mark.parametrize(
    ("pixels", "channels", "full"),
    [
        (np.full((4, 6), 200, np.uint8), 1, 255),
        (np.full((4, 6, 3), 200, np.uint8), 3, 255),
        (np.full((4, 6), 40_000, np.uint16), 1, 65_535),
    ],
)
def test_other_formats_have_the_whole_range_as_their_window(
    pixels: Any, channels: int, full: int
) -> None:
    found = view(png(pixels))
    assert found.samples.shape == (4, 6, channels)
    assert found.samples.max() == pixels.max()
    assert (found.center, found.width) == (full / 2, full)


def test_a_dicom_in_color_is_shown_in_color() -> None:
    pixels = np.zeros((3, 5, 3), np.uint8)
    pixels[..., 1] = 99
    found = view(dicom(pixels))
    assert found.samples[0, 0].tolist() == [0, 99, 0]
