"""A small head for few images: the mean of the feature map, one hidden layer, dropout.

The paper's head has millions of weights, most of them for where in the image something is. A few
hundred images do not determine those. The mean over positions leaves as many inputs as the backbone
has channels; what a person would fit by hand on frozen features starts from the same mean.
"""

from torch import nn

HIDDEN = 256
DROPOUT = 0.5


class PooledHead(nn.Sequential):
    """Feature map (N, C, h, w) -> logits (N, K)."""

    def __init__(
        self, feature_shape: tuple[int, ...], *, class_count: int, dropout: float = DROPOUT
    ) -> None:
        channels = feature_shape[0]
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.BatchNorm1d(channels),
            nn.Dropout(dropout),
            nn.Linear(channels, HIDDEN),
            nn.LeakyReLU(),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, class_count),
        )
