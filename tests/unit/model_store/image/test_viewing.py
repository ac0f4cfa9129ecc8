"""What a viewer gets: values in their own units, without the model's window."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_store.image.gray import as_gray
from model_store.image.viewing import LONGEST, Viewing, view
from tests.builders.dicoms import dicom, header

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
