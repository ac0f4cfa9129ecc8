"""Heads: the paper's, a pooled one for few images, one blended of two, and several as one.

Source of the paper's: Liang et al. 2020, section 5.1; docs/training.md gives our reading if the
paper is silent. Several heads on one frozen backbone cost little when served.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from training.errors import BadBackbone

HeadKind = Literal["paper", "pooled", "blend"]
HIDDEN = (256, 64)
POOLED_HIDDEN = 256
DROPOUT = 0.5  # the paper's


class Head(nn.Sequential):
    """The paper's head: feature map (N, C, h, w) -> logits (N, K). `h` and `w` are at least 2."""

    def __init__(
        self,
        feature_shape: tuple[int, ...],
        *,
        class_count: int,
        reduction: int,
    ) -> None:
        channels, height, width = feature_shape
        if min(height, width) < 2:
            raise BadBackbone(
                f"the feature map is {height} x {width}, but the head needs 2 x 2; use a larger "
                "image size"
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


class PooledHead(nn.Sequential):
    """Feature map (N, C, h, w) -> logits (N, K), for few images: mean, one hidden layer, dropout.

    The paper's head has millions of weights, most of them for where in the image something is. A
    few hundred images do not determine those. The mean over positions leaves as many inputs as the
    backbone has channels; what a person would fit by hand on frozen features starts from it too.
    """

    def __init__(self, feature_shape: tuple[int, ...], *, class_count: int) -> None:
        channels = feature_shape[0]
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.BatchNorm1d(channels),
            nn.Dropout(DROPOUT),
            nn.Linear(channels, POOLED_HIDDEN),
            nn.LeakyReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(POOLED_HIDDEN, class_count),
        )


class HeadEnsemble(nn.Module):
    """Several heads or networks on the same input: the logarithm of the mean of their
    probabilities, (N, K); for `findings` its log odds.

    The result behaves like any logits: its softmax, or sigmoid, is that mean, and a temperature can
    divide it. Each member is trained separately, with its own seed and order of batches. If all of
    a network is trained, this is a deep ensemble (Lakshminarayanan et al. 2017).

    >>> def always(*probabilities):
    ...     head = nn.Linear(1, 2)
    ...     bias = torch.tensor(probabilities).log()
    ...     head.load_state_dict({"weight": torch.zeros(2, 1), "bias": bias})
    ...     return head
    >>> # 1.4 / 2, 0.6 / 2
    >>> HeadEnsemble([always(0.5, 0.5), always(0.9, 0.1)])(torch.ones(1, 1)).exp().detach()
    tensor([[0.7000, 0.3000]])
    """

    def __init__(
        self, heads: Sequence[nn.Module], *, mean: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.mean = mean or mean_answer

    def forward(self, features: Tensor) -> Tensor:
        return self.mean(torch.stack([head(features) for head in self.heads]))


class BlendedHead(nn.Module):
    """Two heads whose probabilities are averaged, for few images: (N, C, h, w) -> (N, K).

    One is pooled, one a logistic regression (`training.fitting.logistic`), both with balanced class
    weights, which find rare classes. The mean is less sure where one of them is wrong.
    """

    def __init__(self, pooled: nn.Module, linear: nn.Linear) -> None:
        super().__init__()
        self.pooled, self.linear = pooled, linear

    def forward(self, features: Tensor) -> Tensor:
        linear = self.linear(features.mean(dim=(2, 3)))
        return mean_answer(torch.stack([self.pooled(features), linear]))


def mean_answer(logits: Tensor) -> Tensor:
    """The logarithm (N, K) of the mean of the probabilities of several logits (M, N, K)."""
    return logits.log_softmax(dim=2).logsumexp(dim=0) - math.log(len(logits))


def mean_odds(logits: Tensor) -> Tensor:
    """The logits (N, K) of the mean of the probabilities of presence, from logits (M, N, K)."""
    present, absent = (nn.functional.logsigmoid(each) for each in (logits, -logits))
    return present.logsumexp(dim=0) - absent.logsumexp(dim=0)


def build_head(
    kind: HeadKind, shape: tuple[int, ...], *, class_count: int, reduction: int
) -> nn.Module:
    """Draw a head for feature maps of `shape` (C, h, w). Raises BadBackbone if they are too small.

    `reduction` is for the paper's head alone.
    """
    if kind == "paper":
        return Head(shape, class_count=class_count, reduction=reduction)
    pooled = PooledHead(shape, class_count=class_count)
    if kind == "pooled":
        return pooled
    return BlendedHead(pooled, nn.Linear(shape[0], class_count))
