"""Test-time augmentation: the mean of a network's probabilities over fixed views of the image,
inside the graph.

View 0 is the image itself. The others are slightly rotated, shifted, scaled and exposed, like light
augmentation, but by fixed amounts, so an answer does not depend on chance. What moves in is the
image reflected at its border, since networks answer to a black border that no image of training
has. Sources: Krizhevsky et al. 2012, section 4.1; for uncertainty, Ayhan and Berens 2018,
"Test-time Data Augmentation for Estimation of Heteroscedastic Aleatoric Uncertainty".
"""

import numpy as np
import torch
from torch import Tensor, nn

from model_store.image import InputSpec
from training.features.augmentation import LIGHT, moved_grid, reflected
from training.features.transform import Images, ImageTransform, Numbers
from training.networks.classifier import mean_answer

STREAM = 7  # of random numbers, so that these views are not those of training


class FixedView(nn.Module):
    """Images (N, C, H, W) of `spec` in view `number` (from 1), float32 in 0..255; what moves in is
    its reflection.
    """

    grid: Tensor

    def __init__(self, number: int, spec: InputSpec) -> None:
        super().__init__()
        angle, across, down, scale, contrast, brightness = np.random.default_rng(
            (STREAM, number)
        ).uniform(-1, 1, 6)
        grid = moved_grid(
            (spec.channels, spec.height, spec.width),
            angle=LIGHT.angle * angle,
            across=LIGHT.shift * across,
            down=LIGHT.shift * down,
            scale=1 + LIGHT.scale * scale,
        )
        self.register_buffer("grid", grid)
        self.gain = 1 + LIGHT.contrast * contrast
        self.offset = 127.5 * (1 - self.gain) + 255 * LIGHT.brightness * brightness

    def forward(self, image: Tensor) -> Tensor:
        grid = self.grid.expand(image.shape[0], -1, -1, -1)
        return (reflected(image, grid) * self.gain + self.offset).clamp(0, 255)


class ViewAverage(nn.Module):
    """uint8 (N, C, H, W) -> the logarithm of the mean probability over `count` views, (N, K)."""

    def __init__(self, classifier: nn.Module, count: int, spec: InputSpec) -> None:
        super().__init__()
        self.classifier = classifier
        self.views = nn.ModuleList(FixedView(number, spec) for number in range(1, count))

    def forward(self, image: Tensor) -> Tensor:
        return mean_answer(
            [self.classifier(seen) for seen in (image, *(view(image) for view in self.views))]
        )


def tested_view(number: int, spec: InputSpec, *, after: ImageTransform) -> ImageTransform:
    """View `number` of what `after` makes of an image, as a transform of images."""
    view = FixedView(number, spec)

    def apply(inputs: Images, numbers: Numbers) -> Images:
        seen: Images = view(torch.from_numpy(after.apply(inputs, numbers))).numpy()
        return seen

    return ImageTransform("-".join(filter(None, (after.name, f"reflected-view-{number}"))), apply)
