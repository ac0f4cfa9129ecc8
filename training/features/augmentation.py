"""Small changes of an image that keep its class, as another position, exposure or focus would
produce.

An `Augmentation` changes an image again in each epoch, by seed, epoch and number. So it does not
depend on the order of images, on processes or on an interruption.

No change mirrors an image unless its name says so: the side of a finding and of the heart matter.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
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
        """`image` (C, H, W), moved and exposed differently; what moves in is its reflection."""
        angle, across, down, scale, contrast, brightness = generator.uniform(-1, 1, size=6)
        grid = moved_grid(
            image.shape,
            angle=self.angle * angle,
            across=self.shift * across,
            down=self.shift * down,
            scale=1 + self.scale * scale,
        )
        (moved,) = reflected(torch.from_numpy(image)[None], grid).numpy()
        exposed = (moved - 127.5) * (1 + self.contrast * contrast) + 127.5
        return gray_values(exposed + 255 * self.brightness * brightness)


def moved_grid(
    shape: Sequence[int], *, angle: float, across: float, down: float, scale: float
) -> Tensor:
    """Where each pixel of a moved image (C, H, W) comes from, (1, H, W, 2); shifts are shares."""
    turn = math.radians(angle)
    cosine, sine = math.cos(turn) / scale, math.sin(turn) / scale
    moves = torch.tensor(
        [[[cosine, -sine, 2 * across], [sine, cosine, 2 * down]]], dtype=torch.float32
    )
    return affine_grid(moves, [1, *shape], align_corners=False)


def reflected(images: Tensor, grid: Tensor) -> Tensor:
    """`images` (N, C, H, W) moved by `grid` (N, H, W, 2), float32; what moves in is the image
    mirrored at its border.

    A black border would be a feature that no image of use has: a frozen network answers to it.
    """
    return grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)


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

    def apply(self, inputs: Images, numbers: Numbers, *, seed: int, epoch: int) -> Images:
        """Images `numbers` (n,), uint8 (n, C, H, W), as `epoch` of the fit `seed` sees them."""
        changed = np.empty_like(inputs)
        for row, number in enumerate(numbers):
            changed[row] = self._changed(inputs[row], (seed, epoch, int(number)))
        return changed

    def _changed(self, image: Images, key: tuple[int, ...]) -> Images:
        generator = np.random.default_rng(key)
        for each in self.name.split("+"):
            image = CHANGES[each](image, generator)
        return image
