"""From uint8 image to logits: normalization, backbone and head in one module.

What is fixed and what is trained are two modules, so features of the fixed part can be computed
once.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn

from model_store.image import InputSpec
from training.choices import Weights
from training.errors import BadBackbone
from training.networks.backbones import Trunk, load_trunk
from training.networks.heads import HeadEnsemble, HeadKind, build_head


class Backbone(nn.Module):
    """uint8 (N, C, H, W) -> features in float32: the part of a network that training never changes.

    Cast, gray to color and normalization are inside, so the exported graph contains them. It stays
    in evaluation mode even if its parent is in training mode; otherwise the statistics of batch
    norm would drift. The features are a map (N, C', h, w), or the normalized images if the whole
    network is trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: Trunk, fixed: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = trunk.module if fixed is None else fixed
        self.channels = trunk.channels
        self.register_buffer("mean", 255 * torch.tensor(trunk.mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(trunk.std).reshape(1, -1, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.float()
        if image.shape[1] != self.channels:
            pixels = pixels.expand(-1, self.channels, -1, -1)
        return self.trunk((pixels - self.mean) / self.std)


class Classifier(nn.Module):
    """uint8 (N, C, H, W) -> logits (N, K): a fixed backbone, and what is trained on it."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def members(self) -> tuple[nn.Module, ...]:
        """The modules to train on features, one fit each."""
        return tuple(self.head.heads) if isinstance(self.head, HeadEnsemble) else (self.head,)

    def shift(self, by: Tensor) -> None:
        """Add `by` (K,) to the logits of every member, in the bias of its last layer."""
        for member in self.members:
            last = [each for each in member.modules() if isinstance(each, nn.Linear)][-1]
            with torch.no_grad():
                last.bias.add_(by.to(last.bias))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.backbone(image))


def draw_trunk(backbone: str, weights: Weights, *, seed: int) -> Trunk:
    """Load a trunk. Random weights depend on `seed` alone, not on what torch drew before.

    Raises what `load_trunk` raises.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return load_trunk(backbone, weights)


def build_classifier(
    trunk: Trunk,
    spec: InputSpec,
    *,
    class_count: int,
    reduction: int,
    frozen: bool,
    seed: int,
    head: HeadKind = "paper",
) -> Classifier:
    """Put a head on a trunk, or on a copy of it if it is not `frozen`, which leaves it as it is.

    The head depends on `seed` alone.

    Raises BadBackbone if the image size does not fit or leaves no 2 x 2 feature map.
    """
    shape = shape_of(Backbone(trunk), spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last = build_head(head, shape, class_count=class_count, reduction=reduction)
    if frozen:
        return Classifier(Backbone(trunk), last)
    return Classifier(Backbone(trunk, nn.Identity()), _whole(deepcopy(trunk.module), last))


def joined(networks: Sequence[Classifier], *, mean: Callable[[Tensor], Tensor]) -> Classifier:
    """Networks on one backbone as one, whose logits are the `mean` of theirs."""
    if len(networks) == 1:
        return networks[0]
    heads = [each.head for each in networks]
    return Classifier(networks[0].backbone, HeadEnsemble(heads, mean=mean))


def _whole(trunk: nn.Module, head: nn.Module) -> nn.Sequential:
    """A trunk and a head that are trained together."""
    return nn.Sequential(OrderedDict(trunk=trunk.requires_grad_(), head=head))


def shape_of(module: nn.Module, spec: InputSpec) -> tuple[int, ...]:
    """Shape, without the batch, of what `module` makes of a blank image. Raises BadBackbone."""
    training = module.training
    device = next(iter(module.buffers())).device
    module.eval()
    try:
        with torch.inference_mode():
            blank = torch.zeros(1, spec.channels, spec.height, spec.width, dtype=torch.uint8)
            return tuple(int(side) for side in module(blank.to(device)).shape[1:])
    except (AssertionError, RuntimeError) as error:
        raise BadBackbone(
            f"this backbone cannot take images of {spec.height} x {spec.width} ({error}); choose "
            "another image size"
        ) from error
    finally:
        module.train(training)


def head_seeds(seed: int, heads: int) -> tuple[int, ...]:
    """The seed for weights and batches of each head: `seed` for a single head, 1000 `seed` + i for
    several.

    >>> head_seeds(7, 1), head_seeds(7, 3)
    ((7,), (7000, 7001, 7002))
    """
    return (seed,) if heads == 1 else tuple(1000 * seed + number for number in range(heads))
