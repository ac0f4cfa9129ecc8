"""BSCE-GRA: cross-entropy whose gradient is larger for images with a distribution far from the
truth.

Source: Lin et al. 2025, "Uncertainty Weighted Gradients for Model Calibration". Focal loss
multiplies the loss by a factor and differentiates the factor too. BSCE-GRA multiplies only the
gradient: its factor, the Brier score to the power gamma, has no gradient. Gamma 1 is the Brier
    score itself; the authors tune gamma and the norm per data set.
"""

from torch import Tensor

from training.losses.loss import MainTerm
from training.losses.recipe import Option, Recipe


class BrierCrossEntropy(MainTerm):
    """Cost of label k: [sum_j (p_j - 1[j = k])^2]^gamma * -log p_k, no gradient through [].

    >>> import torch
    >>> logits = torch.log(torch.tensor([[0.8, 0.2]]))
    >>> # (.04 + .04) ln 1.25
    >>> round(BrierCrossEntropy(gamma=1.0)(logits, torch.tensor([0])).item(), 5)
    0.01785
    """

    def __init__(self, class_weights: Tensor | None = None, *, gamma: float) -> None:
        super().__init__(class_weights)
        self.gamma = gamma

    def costs(self, logits: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        p = logs.detach().exp()
        brier = p.square().sum(dim=1, keepdim=True) - 2 * p + 1  # |p - e_k|^2 for every k
        return -(brier.clamp(min=0) ** self.gamma) * logs


RECIPE = Recipe(
    title="BSCE-GRA",
    source="Lin et al. 2025",
    formula="-[Brier score]^gamma log p[y], [] without gradient",
    role="main",
    build=BrierCrossEntropy,
    options={"gamma": Option(1.0, "power of the Brier score")},
)
