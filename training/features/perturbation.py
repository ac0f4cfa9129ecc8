"""Perturbed validation images: the same images with different exposure, contrast, focus, noise and
framing.

Validation images come from the same source as training images, so a temperature fitted on them
ignores the place of use, and confidence there is too high. A temperature fitted on perturbed
validation images is higher and withstands a shift. On data without a shift it makes confidence too
low. The perturbations are fixed; no test set chose them.

Source: Tomani et al. 2021, Post-hoc Uncertainty Calibration for Domain Drift Scenarios, with a few
of the corruptions of Hendrycks and Dietterich 2019 in place of noise alone.
"""

from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from training.features.inputs import Images, ImageTransform, Numbers, gray_values

NOISE = 16.0  # standard deviation, in gray values of 0..255
BLUR = 56  # the blur's standard deviation is a side divided by this
EXPOSURE = 32.0  # gray values
CONTRAST = 0.6  # and its inverse
ZOOM = 1.15


def _noisy(inputs: Images, numbers: Numbers) -> Images:
    noise = [
        np.random.default_rng(int(number)).normal(0, NOISE, inputs.shape[1:]) for number in numbers
    ]
    return gray_values(inputs.astype(np.float64) + np.reshape(noise, inputs.shape))


def _blurred(inputs: Images, _numbers: Numbers) -> Images:
    sigma = max(inputs.shape[2:]) / BLUR
    size = 2 * round(3 * sigma) + 1
    return functional.gaussian_blur(torch.from_numpy(inputs), [size, size], [sigma, sigma]).numpy()


def _zoomed(inputs: Images, _numbers: Numbers) -> Images:
    moved = functional.affine(
        torch.from_numpy(inputs),
        angle=0.0,
        translate=[0, 0],
        scale=ZOOM,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    return moved.numpy()


def _exposed(by: float) -> Callable[[Images, Numbers], Images]:
    return lambda inputs, _numbers: gray_values(inputs + by)


def _contrasted(by: float) -> Callable[[Images, Numbers], Images]:
    return lambda inputs, _numbers: gray_values((inputs - 127.5) * by + 127.5)


PERTURBATIONS: tuple[ImageTransform, ...] = (
    ImageTransform("noisy", _noisy),
    ImageTransform("blurred", _blurred),
    ImageTransform("zoomed", _zoomed),
    ImageTransform("brighter", _exposed(EXPOSURE)),
    ImageTransform("darker", _exposed(-EXPOSURE)),
    ImageTransform("flatter", _contrasted(CONTRAST)),
    ImageTransform("harder", _contrasted(1 / CONTRAST)),
)
