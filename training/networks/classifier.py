"""From uint8 image to logits: normalization, backbone and the paper's head in one module.

Source of the head: Liang et al. 2020, section 5.1; docs/training.md gives our reading if the paper is silent. It is
conv 1x1 to C / `reduction`, batch norm, leaky ReLU, 2x2 max pool of stride 1, two FC layers with dropout 0.5, output.
Several heads on one frozen backbone cost little when served; HeadEnsemble averages them.
"""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from model_store.image import InputSpec
from training.errors import BadBackbone
from training.networks.backbones import Trunk, Weights, load_trunk
from training.networks.blocks import last_blocks

HIDDEN = (256, 64)
DROPOUT = 0.5


class Backbone(nn.Module):
    """uint8 (N, C, H, W) -> feature map (N, C', h, w) in float32.

    Cast, gray to color and normalization are inside, so the exported graph contains them. A frozen backbone stays in
    evaluation mode even if its parent is in training mode; otherwise the statistics of batch norm would drift. With
    `trainable`, that holds for all but the last blocks (blocks.py), and `frozen` is False, since features then change
    during training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: Trunk, *, frozen: bool, trainable: int | float = 0) -> None:
        super().__init__()
        learned = last_blocks(trunk.blocks, trainable) if frozen else ()
        self.trunk = trunk.module
        self.channels = trunk.channels
        self.frozen = frozen and not learned
        self._learned = learned if frozen else None  # None: all of it
        self.register_buffer("mean", 255 * torch.tensor(trunk.mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(trunk.std).reshape(1, -1, 1, 1))
        if frozen:
            self.requires_grad_(False)
            for block in learned:
                block.requires_grad_(True)
            self.eval()

    def train(self, mode: bool = True) -> Self:
        if self._learned is None:
            return super().train(mode)
        super().train(False)
        for block in self._learned:
            block.train(mode)
        return self

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.float()
        if image.shape[1] != self.channels:
            pixels = pixels.expand(-1, self.channels, -1, -1)
        return self.trunk((pixels - self.mean) / self.std)

    def feature_shape(self, spec: InputSpec) -> tuple[int, int, int]:
        """(C', h, w) for images of `spec`, found by running a blank one. Raises BadBackbone if that fails."""
        training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                blank = torch.zeros(1, spec.channels, spec.height, spec.width, dtype=torch.uint8)
                shape = self(blank.to(self.mean.device)).shape
        except (AssertionError, RuntimeError) as error:
            raise BadBackbone(
                f"this backbone cannot take images of {spec.height} x {spec.width} ({error}); choose another image size"
            ) from error
        self.train(training)
        return int(shape[1]), int(shape[2]), int(shape[3])


class Head(nn.Sequential):
    """The paper's head: feature map (N, C, h, w) -> logits (N, K). `h` and `w` are at least 2."""

    def __init__(self, feature_shape: tuple[int, int, int], *, class_count: int, reduction: int) -> None:
        channels, height, width = feature_shape
        if min(height, width) < 2:
            raise BadBackbone(
                f"the feature map is {height} x {width}, but the head needs 2 x 2; use a larger image size"
            )
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


class HeadEnsemble(nn.Module):
    """Several heads on one feature map (N, C, h, w): the logarithm of the mean of their probabilities, (N, K).

    The result behaves like any logits: its softmax is that mean, and a temperature can divide it. Each head is trained
    separately, with its own seed and order of batches (`Classifier.parts`).

    >>> def always(*probabilities):
    ...     head = nn.Linear(1, 2)
    ...     head.load_state_dict({"weight": torch.zeros(2, 1), "bias": torch.tensor(probabilities).log()})
    ...     return head
    >>> HeadEnsemble([always(0.5, 0.5), always(0.9, 0.1)])(torch.ones(1, 1)).exp().detach()  # 1.4 / 2, 0.6 / 2
    tensor([[0.7000, 0.3000]])
    """

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Tensor) -> Tensor:
        logs = torch.stack([head(features).log_softmax(dim=1) for head in self.heads])  # (n, N, K)
        return logs.logsumexp(dim=0) - math.log(len(self.heads))


class Classifier(nn.Module):
    """uint8 (N, C, H, W) -> logits (N, K)."""

    def __init__(self, backbone: Backbone, head: Head | HeadEnsemble) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The modules to train, one fit each: the heads on a frozen backbone, else the whole classifier."""
        if not self.backbone.frozen:
            return (self,)
        return tuple(self.head.heads) if isinstance(self.head, HeadEnsemble) else (self.head,)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.backbone(image))


def build_classifier(
    backbone: str,
    weights: Weights,
    *,
    spec: InputSpec,
    class_count: int,
    reduction: int,
    frozen: bool,
    seed: int,
    heads: int = 1,
    trainable: int | float = 0,
) -> Classifier:
    """Build a classifier. Random weights depend on `seed` alone, not on what torch drew before.

    `trainable` selects the last blocks of a frozen backbone for training: a number of blocks (int), or the share of
    weights that they hold (float).

    Raises what `load_trunk` raises. Raises BadBackbone if the image size does not fit or leaves no 2 x 2 feature map,
    if several heads have a backbone that is not frozen, or if there are not enough blocks.
    """
    if heads > 1 and (trainable or not frozen):
        raise BadBackbone(f"{heads} heads share a frozen backbone; train one head, or freeze the backbone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = Backbone(load_trunk(backbone, weights), frozen=frozen, trainable=trainable)
        shape = body.feature_shape(spec)
        drawn: list[Head] = []
        for head_seed in head_seeds(seed, heads):
            torch.manual_seed(head_seed)  # again, so the head does not depend on how much the trunk drew
            drawn.append(Head(shape, class_count=class_count, reduction=reduction))
    return Classifier(body, drawn[0] if heads == 1 else HeadEnsemble(drawn))


def head_seeds(seed: int, heads: int) -> tuple[int, ...]:
    """The seed for weights and batches of each head: `seed` for a single head, 1000 `seed` + i for several.

    >>> head_seeds(7, 1), head_seeds(7, 3)
    ((7,), (7000, 7001, 7002))
    """
    return (seed,) if heads == 1 else tuple(1000 * seed + number for number in range(heads))
