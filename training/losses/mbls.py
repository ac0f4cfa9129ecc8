"""Margin-based label smoothing: a penalty on differences of logits beyond a margin.

Source: Liu et al. 2022, "The Devil is in the Margin", as in the authors' published code, with its
margin 10 and weight .1. With two classes a distance of 10 is a confidence of .99995: a smaller
margin may be needed for the term to act.
"""

from torch import Tensor

from training.losses.loss import MeanTerm
from training.losses.recipe import Option, Recipe


class MarginPenalty(MeanTerm):
    """beta * mean over images and classes of max(0, max_j z_j - z_k - margin).

    >>> import torch
    >>> logits = torch.tensor([[12.0, 0.0], [3.0, 0.0]])
    >>> # (12 - 10) / 4
    >>> round(MarginPenalty(beta=1.0, margin=10.0)(logits, torch.tensor([0, 0])).item(), 4)
    0.5
    """

    def __init__(self, *, beta: float, margin: float) -> None:
        super().__init__(beta=beta)
        self.margin = margin

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        distances = logits.amax(dim=1, keepdim=True) - logits
        return (distances - self.margin).clamp(min=0).mean(dim=1)


RECIPE = Recipe(
    title="MbLS",
    source="Liu et al. 2022",
    formula="beta mean max(0, max z - z_k - margin)",
    role="auxiliary",
    build=MarginPenalty,
    options={
        "beta": Option(0.1, "strength"),
        "margin": Option(10.0, "difference of logits without a penalty"),
    },
)
