"""Label smoothing: the label gets 1 - smoothing, and all classes share the rest.

Source: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7; for calibration
Mueller et al. 2019. Class weights multiply each image by the weight of its label; torch's own loss
also weights each class of the spread.
"""

import torch
from torch import Tensor

from training.losses.loss import MainTerm
from training.losses.recipe import Option, Recipe


class SmoothCrossEntropy(MainTerm):
    """Cost of label k: (1 - s) * -log p_k + s / K * sum_j -log p_j.

    >>> logits = torch.log(torch.tensor([[0.8, 0.2]]))
    >>> # .95 ln 1.25 + .05 ln 5
    >>> round(SmoothCrossEntropy(smoothing=0.1)(logits, torch.tensor([0])).item(), 4)
    0.2925
    """

    def __init__(self, class_weights: Tensor | None = None, *, smoothing: float) -> None:
        super().__init__(class_weights)
        self.smoothing = smoothing

    def costs(self, logits: Tensor) -> Tensor:
        costs = -logits.log_softmax(dim=1)
        return torch.lerp(costs, costs.mean(dim=1, keepdim=True), self.smoothing)


RECIPE = Recipe(
    title="label smoothing",
    source="Szegedy et al. 2016, 7",
    formula="cross-entropy against (1 - s) y + s / K",
    role="main",
    build=SmoothCrossEntropy,
    options={"smoothing": Option(0.1, "s, the part that all classes share", high=1.0)},
)
