"""Brightness and contrast of images."""

import numpy as np
import pytest

from model_store.image.brightness import brightness


@pytest.mark.parametrize("shape", [(5, 1, 7, 9), (3, 3, 224, 224)])
def test_it_is_numpys_mean_and_standard_deviation(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images[1] = 255
    flat = images.reshape(len(images), -1).astype(np.float64)
    np.testing.assert_allclose(
        brightness(images), np.stack([flat.mean(axis=1), flat.std(axis=1)], axis=1), atol=2e-3
    )
