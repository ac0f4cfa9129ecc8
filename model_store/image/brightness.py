"""Brightness and contrast of images, measured by training and serving in the same way.

They are cheap, and reveal a pipeline that inverts, rescales or crops differently, or another
exposure. They say nothing about what an image shows.
"""

import numpy as np
import numpy.typing as npt


def brightness(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the mean and standard deviation over all pixels and channels of each image (N, C, H,
    W), as (N, 2) in gray levels.

    >>> brightness(np.array([[[[0, 100], [0, 100]]], [[[7, 7], [7, 7]]]], dtype=np.uint8)).tolist()
    [[50.0, 50.0], [7.0, 0.0]]
    """
    pixels = images.reshape(len(images), -1).astype(np.float32)
    mean = pixels.mean(axis=1)
    pixels -= mean[:, np.newaxis]
    contrast = np.sqrt(np.square(pixels, out=pixels).mean(axis=1))
    return np.stack([mean, contrast], axis=1).astype(np.float64)
