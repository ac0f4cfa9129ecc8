"""Cross-entropy, weighted by class: the baseline, and the main term of every other method.

Source: Liang et al. 2020, section 5.1, which weights the cross-entropy by class and nothing else.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.loss import LossSettings, Term, precise


class CrossEntropy(Term):
    """sum_i w[y_i] * -log softmax(z_i)[y_i] / sum_i w[y_i].

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> labels = torch.tensor([0, 1])
    >>> round(CrossEntropy()(logits, labels).item(), 4)  # (ln 2 + ln 1.25) / 2
    0.4581
    >>> round(CrossEntropy(torch.tensor([3.0, 1.0]))(logits, labels).item(), 4)  # (3 ln 2 + ln 1.25) / 4
    0.5756
    """

    def __init__(self, class_weights: Tensor | None = None) -> None:
        self.class_weights = class_weights

    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum of the weights, (1,)."""
        return self._weights(logits, labels).sum().reshape(1)

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        losses = functional.cross_entropy(precise(logits), labels, reduction="none")  # (N,)
        return (self._weights(logits, labels) * losses).sum() / statistics[0]

    def _weights(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Weight of each image, (N,)."""
        weights = precise(logits).new_ones(logits.shape[1]) if self.class_weights is None else self.class_weights
        return weights.to(device=logits.device, dtype=precise(logits).dtype)[labels]


def balanced_weights(labels: Tensor, class_count: int) -> Tensor:
    """Class weights N / (K n_k), float32 (K,): every class weighs the same in total. `labels` int64 (N,).

    A class without images gets weight 0.

    >>> balanced_weights(torch.tensor([0, 1, 1, 1]), 2).tolist()
    [2.0, 0.6666666865348816]
    """
    counts = torch.bincount(labels, minlength=class_count).float()
    return torch.where(counts > 0, len(labels) / (class_count * counts.clamp(min=1)), 0.0)


def ce(settings: LossSettings) -> tuple[Term, ...]:
    """The recipe `ce`: cross-entropy alone."""
    return (CrossEntropy(settings.class_weights),)
