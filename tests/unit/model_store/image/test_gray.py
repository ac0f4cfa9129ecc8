"""The gray of stored integers of every type, as if each pixel had been computed alone."""

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset

from model_store.image.gray import as_gray

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
