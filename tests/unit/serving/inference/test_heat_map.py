"""The picture of an occlusion map, read back from its pixels."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.inference.explanation import MARGIN, OPAQUE, RED, SIDE, heat_map


def pixels(values: Any, image: Any) -> Any:
    return np.asarray(Image.open(io.BytesIO(heat_map(values, image, of="ill").png))).astype(float)


@pytest.fixture
def bright_corner() -> Any:
    image = np.full((1, 32, 48), 40, np.uint8)
    image[:, :16, :16] = 240
    return image


def test_the_image_is_beneath_and_untouched_where_nothing_matters(bright_corner: Any) -> None:
    values = np.zeros((8, 8))
    values[7, 7] = 0.5
    shown = pixels(values, bright_corner)
    assert shown.shape[0] > SIDE
    assert shown.shape[1] == SIDE // 32 * 48 + MARGIN
    np.testing.assert_allclose(shown[60, 60], 240, atol=2)
    np.testing.assert_allclose(shown[60, 400], 40, atol=2)
    corner = shown[SIDE - 4, SIDE // 32 * 48 - 4]
    np.testing.assert_allclose(corner, (1 - OPAQUE) * 40 + OPAQUE * np.array(RED), atol=3)


def test_red_speaks_for_the_class_and_blue_against_it() -> None:
    values = np.zeros((8, 8))
    values[0, 0], values[7, 7] = 0.5, -0.5
    shown = pixels(values, np.full((3, 64, 64), 128, np.uint8))
    assert shown[4, 4, 0] > 150 > shown[4, 4, 2]
    assert shown[440, 440, 2] > 150 > shown[440, 440, 0]


def test_a_map_on_which_nothing_matters_is_pale_and_says_so() -> None:
    gray = np.full((1, 64, 64), 128, np.uint8)
    faint, strong = np.zeros((8, 8)), np.zeros((8, 8))
    faint[4, 4], strong[4, 4] = 0.049, 0.4
    pale, colored = (
        np.abs(pixels(values, gray)[:448, :448] - 128).max() for values in (faint, strong)
    )
    assert pale < 20 < 55 < colored
    assert heat_map(faint, gray, of="ill").sentence.startswith("No part of the image matters much.")
    assert (pixels(faint, gray)[448:] < 100).any()  # the words below the image
    assert not (pixels(strong, gray)[448:, :448] < 100).any()
