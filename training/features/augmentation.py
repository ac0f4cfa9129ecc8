"""Small changes of an image that keep its class, as another position, exposure or focus would
produce.

An `Augmentation` changes an image again in each epoch, by seed, epoch and number. So it does not
depend on the order of images, on processes or on an interruption.

No change mirrors an image unless its name says so: the side of a finding and of the heart matter.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample

from training.errors import UnknownName
from training.features.inputs import Images, Numbers, gray_values

Change = Callable[[Images, np.random.Generator], Images]  # of one image, (C, H, W)


@dataclass(frozen=True)
class Strength:
    """Limits of a random change, either way."""

    angle: float  # degrees
    shift: float  # of the side
    scale: float  # of 1
    contrast: float  # of 1
    brightness: float  # of the range 0..255

    def __call__(self, image: Images, generator: np.random.Generator) -> Images:
        """`image` (C, H, W), moved and exposed differently; what moves in is its reflection.

        A black border would be a feature that no image of use has: a frozen network answers to it.
        """
        angle, across, down, scale, contrast, brightness = generator.uniform(-1, 1, size=6)
        turn, size = math.radians(self.angle * angle), 1 + self.scale * scale
        cosine, sine = math.cos(turn) / size, math.sin(turn) / size
        across, down = 2 * self.shift * across, 2 * self.shift * down
        moves = torch.tensor([[[cosine, -sine, across], [sine, cosine, down]]], dtype=torch.float32)
        grid = affine_grid(moves, [1, *image.shape], align_corners=False)
        given = torch.from_numpy(image)[None].float()
        moved = grid_sample(given, grid, padding_mode="reflection", align_corners=False)[0].numpy()
        exposed = (moved - 127.5) * (1 + self.contrast * contrast) + 127.5
        return gray_values(exposed + 255 * self.brightness * brightness)


LIGHT = Strength(angle=7.0, shift=0.05, scale=0.07, contrast=0.1, brightness=0.1)
STRONG = Strength(angle=15.0, shift=0.1, scale=0.15, contrast=0.25, brightness=0.15)


def _mirrored(axis: int) -> Change:
    return lambda image, generator: (
        np.flip(image, axis).copy() if generator.random() < 0.5 else image
    )


def _turned(image: Images, generator: np.random.Generator) -> Images:
    return np.rot90(image, int(generator.integers(4)), axes=(1, 2)).copy()


CHANGES: Mapping[str, Change] = {
    "light": LIGHT,
    "strong": STRONG,
    "hflip": _mirrored(2),
    "vflip": _mirrored(1),
    "rot90": _turned,
}


@dataclass(frozen=True)
class Augmentation:
    """The changes of CHANGES named in `name`, joined by +, in this order. Raises UnknownName."""

    name: str

    def __post_init__(self) -> None:
        for each in self.name.split("+"):
            if each not in CHANGES:
                raise UnknownName("augmentation", each, tuple(CHANGES))

    def apply(self, inputs: Images, numbers: Numbers, *, epoch: tuple[int, int]) -> Images:
        """Images `numbers` (n,), uint8 (n, C, H, W), as an epoch sees them: of a seed, a number."""
        changed = np.empty_like(inputs)
        for row, number in enumerate(numbers):
            generator, image = np.random.default_rng((*epoch, int(number))), inputs[row]
            for each in self.name.split("+"):
                image = CHANGES[each](image, generator)
            changed[row] = image
        return changed
