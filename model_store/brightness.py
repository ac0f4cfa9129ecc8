"""How bright images are and how much contrast they have, as training and serving measure it alike: cheap, and no more.

It notices a pipeline that inverts, rescales or crops otherwise, or another exposure; not what is in a picture.
"""

import numpy as np
import numpy.typing as npt


def brightness(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Mean and standard deviation over the pixels of each image, all channels alike.

    `images`: uint8 (N, C, H, W), the network's input. Returns (N, 2), in gray levels.

    >>> brightness(np.array([[[[0, 100], [0, 100]]], [[[7, 7], [7, 7]]]], dtype=np.uint8)).tolist()
    [[50.0, 50.0], [7.0, 0.0]]
    """
    pixels = images.reshape(len(images), -1).astype(np.float32)
    mean = pixels.mean(axis=1)
    pixels -= mean[:, np.newaxis]
    contrast = np.sqrt(np.square(pixels, out=pixels).mean(axis=1))
    return np.stack([mean, contrast], axis=1).astype(np.float64)
