"""From uint8 image to logits: normalization, backbone, and the paper's head, as one module.

Source of the head: Liang et al. 2020, section 5.1, with the readings of docs/training.md where the paper is silent:
conv 1x1 to C / `reduction`, batch norm, leaky ReLU, 2x2 max pool of stride 1, two FC layers with dropout 0.5, output.
"""

from typing import Self

import torch
from torch import Tensor, nn

from model_store.image import InputSpec
from training.backbones import Trunk, Weights, load_trunk

HIDDEN = (256, 64)
DROPOUT = 0.5


class Backbone(nn.Module):
    """uint8 (N, C, H, W) -> feature map (N, C', h, w) in float32.

    Cast, gray to colour, and normalization are inside, so that the exported graph has them. A frozen backbone stays in
    evaluation mode whatever its parent does: batch norm in training mode would drift although no weight is learnt.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: Trunk, *, frozen: bool) -> None:
        super().__init__()
        self.trunk = trunk.module
        self.channels = trunk.channels
        self.frozen = frozen
        self.register_buffer("mean", 255 * torch.tensor(trunk.mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(trunk.std).reshape(1, -1, 1, 1))
        if frozen:
            self.requires_grad_(False)
            self.eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and not self.frozen)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.float()
        if image.shape[1] != self.channels:
            pixels = pixels.expand(-1, self.channels, -1, -1)
        return self.trunk((pixels - self.mean) / self.std)

    def feature_shape(self, spec: InputSpec) -> tuple[int, int, int]:
        """(C', h, w) for images of `spec`, found by running one."""
        training = self.training
        self.eval()
        with torch.inference_mode():
            shape = self(torch.zeros(1, spec.channels, spec.height, spec.width, dtype=torch.uint8)).shape
        self.train(training)
        return int(shape[1]), int(shape[2]), int(shape[3])


class Head(nn.Sequential):
    """The paper's head: feature map (N, C, h, w) -> logits (N, K). `h` and `w` are at least 2."""

    def __init__(self, feature_shape: tuple[int, int, int], *, class_count: int, reduction: int) -> None:
        channels, height, width = feature_shape
        if min(height, width) < 2:
            raise ValueError(f"feature map is {height} x {width}, the head needs 2 x 2; use a larger image size")
        narrow = channels // reduction
        first, second = HIDDEN
        super().__init__(
            nn.Conv2d(channels, narrow, kernel_size=1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.LeakyReLU(),
            nn.MaxPool2d(kernel_size=2, stride=1),
            nn.Flatten(),
            nn.Linear(narrow * (height - 1) * (width - 1), first),
            nn.LeakyReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(first, second),
            nn.LeakyReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(second, class_count),
        )


class Classifier(nn.Module):
    """uint8 (N, C, H, W) -> logits (N, K)."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.backbone(image))


def build_classifier(
    backbone: str, weights: Weights, *, spec: InputSpec, class_count: int, reduction: int, frozen: bool, seed: int
) -> Classifier:
    """A classifier whose unlearnt parts are drawn from `seed` alone: two of one seed are equal, whatever came before.

    Raises what `load_trunk` raises, and ValueError for an image size that leaves no 2 x 2 feature map.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = Backbone(load_trunk(backbone, weights), frozen=frozen)
        torch.manual_seed(seed)  # again: how much a trunk draws must not change the head
        head = Head(body.feature_shape(spec), class_count=class_count, reduction=reduction)
    return Classifier(body, head)
