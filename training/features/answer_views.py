"""Test-time augmentation: the mean of a network's probabilities over fixed views of the image, inside the graph.

View 0 is the image itself. The others are slightly rotated, shifted, scaled and exposed, like light augmentation, but
by fixed amounts, so an answer does not depend on chance. Sources: Krizhevsky et al. 2012, section 4.1; for uncertainty,
Ayhan and Berens 2018, "Test-time Data Augmentation for Estimation of Heteroscedastic Aleatoric Uncertainty".
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_store.image import InputSpec
from training.features.augmentation import LIGHT
from training.features.transform import Images, ImageTransform, Numbers
from training.networks.classifier import mean_answer

STREAM = 7  # of random numbers, so that these views are not those of training


class FixedView(nn.Module):
    """Images (N, C, H, W) of `spec` in view `number` (from 1), float32 in 0..255; what moves in is black."""

    grid: Tensor

    def __init__(self, number: int, spec: InputSpec) -> None:
        super().__init__()
        angle, across, down, scale, contrast, brightness = np.random.default_rng((STREAM, number)).uniform(-1, 1, 6)
        turn, size = math.radians(LIGHT.angle * angle), 1 + LIGHT.scale * scale
        cosine, sine = math.cos(turn) / size, math.sin(turn) / size
        moves = [[cosine, -sine, 2 * LIGHT.shift * across], [sine, cosine, 2 * LIGHT.shift * down]]
        shape = [1, spec.channels, spec.height, spec.width]
        self.register_buffer(
            "grid", functional.affine_grid(torch.tensor([moves], dtype=torch.float32), shape, align_corners=False)
        )
        self.gain = 1 + LIGHT.contrast * contrast
        self.offset = 127.5 * (1 - self.gain) + 255 * LIGHT.brightness * brightness

    def forward(self, image: Tensor) -> Tensor:
        grid = self.grid.expand(image.shape[0], -1, -1, -1)
        moved = functional.grid_sample(image.float(), grid, align_corners=False)
        return (moved * self.gain + self.offset).clamp(0, 255)


class ViewAverage(nn.Module):
    """uint8 (N, C, H, W) -> the logarithm of the mean probability over `count` views, (N, K)."""

    def __init__(self, classifier: nn.Module, count: int, spec: InputSpec) -> None:
        super().__init__()
        self.classifier = classifier
        self.views = nn.ModuleList(FixedView(number, spec) for number in range(1, count))

    def forward(self, image: Tensor) -> Tensor:
        return mean_answer([self.classifier(seen) for seen in (image, *(view(image) for view in self.views))])


def tested_view(number: int, spec: InputSpec, *, after: ImageTransform) -> ImageTransform:
    """View `number` of what `after` makes of an image, as a transform of images."""
    view = FixedView(number, spec)

    def apply(inputs: Images, numbers: Numbers) -> Images:
        seen: Images = view(torch.from_numpy(after.apply(inputs, numbers))).numpy()
        return seen

    return ImageTransform("-".join(filter(None, (after.name, f"test-view-{number}"))), apply)
