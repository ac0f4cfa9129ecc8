"""Small changes of an image that keep its class, as a slightly different position and exposure would produce.

View 0 is the image itself. Every other view of an image depends only on the numbers of view and image, so the views can
be cached like the images, and all runs see the same ones.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from training.features.transform import ImageTransform

ANGLE = 7.0  # degrees, either way
SHIFT = 0.05  # of the side, either way
SCALE = 0.07  # of 1, either way
CONTRAST, BRIGHTNESS = 0.1, 0.1  # of 1, and of the range 0..255, either way


def view_of(number: int) -> ImageTransform:
    """View `number` as a transform of images."""
    return ImageTransform(f"view-{number}", lambda inputs, start: augmented(inputs, view=number, start=start))


def augmented(inputs: NDArray[np.uint8], *, view: int, start: int) -> NDArray[np.uint8]:
    """View `view` of the images `start`, `start` + 1, ..., uint8 (n, C, H, W).

    >>> image = np.full((1, 1, 8, 8), 100, np.uint8)
    >>> (augmented(image, view=0, start=3) == image).all()
    np.True_
    """
    if view == 0:
        return inputs
    return np.stack([_changed(image, np.random.default_rng((view, start + row))) for row, image in enumerate(inputs)])


def _changed(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    angle, across, down, scale, contrast, brightness = generator.uniform(-1, 1, size=6)
    height, width = image.shape[1:]
    moved = functional.affine(
        torch.from_numpy(image),
        angle=ANGLE * angle,
        translate=[round(SHIFT * width * across), round(SHIFT * height * down)],
        scale=1 + SCALE * scale,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    ).numpy()
    exposed = (moved - 127.5) * (1 + CONTRAST * contrast) + 127.5 + 255 * BRIGHTNESS * brightness
    return np.clip(np.rint(exposed), 0, 255).astype(np.uint8)
