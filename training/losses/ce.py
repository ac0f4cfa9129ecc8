"""Cross-entropy, weighted by class: the baseline, and the default main term.

Source: Liang et al. 2020, section 5.1, which weights the cross-entropy by class and nothing else.
"""

import torch
from torch import Tensor

from training.losses.loss import MainTerm
from training.losses.recipe import Recipe


class CrossEntropy(MainTerm):
    """sum_i w[y_i] * -log softmax(z_i)[y_i] / sum_i w[y_i].

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> labels = torch.tensor([0, 1])
    >>> round(CrossEntropy()(logits, labels).item(), 4)  # (ln 2 + ln 1.25) / 2
    0.4581
    >>> # (3 ln 2 + ln 1.25) / 4
    >>> round(CrossEntropy(torch.tensor([3.0, 1.0]))(logits, labels).item(), 4)
    0.5756
    """

    def costs(self, logits: Tensor) -> Tensor:
        return -logits.log_softmax(dim=1)


def balanced_weights(labels: Tensor, class_count: int) -> Tensor:
    """Class weights N / (K n_k), float32 (K,): every class has the same total weight. `labels`
    int64 (N,).

    A class without images gets weight 0.

    >>> balanced_weights(torch.tensor([0, 1, 1, 1]), 2).tolist()
    [2.0, 0.6666666865348816]
    """
    counts = torch.bincount(labels, minlength=class_count).float()
    return torch.where(counts > 0, len(labels) / (class_count * counts.clamp(min=1)), 0.0)


RECIPE = Recipe(
    title="cross-entropy",
    source="Liang et al. 2020, 5.1",
    formula="sum -w[y] log p[y] / sum w[y]",
    role="main",
    build=CrossEntropy,
)
