"""ACLS: adaptive and conditional label smoothing, which grows with the distance of a logit beyond
the margin.

Source: Park et al. 2023, "ACLS: Adaptive and Conditional Label Smoothing for Network Calibration",
as in the authors' published code, with its numbers. The first part lowers the largest logit if it
exceeds the margin. The second raises other logits that are more than the margin below it, without a
gradient for the largest.
"""

from torch import Tensor

from training.losses.loss import MeanTerm
from training.losses.recipe import Option, Recipe


class AdaptiveSmoothing(MeanTerm):
    """beta * mean_i (top max(0, max z - margin)^2 + other / (K - 1) sum_k max(0, [max z] - z_k -
    margin)^2).

    The sum goes over the classes that are not the largest; [] has no gradient.

    >>> import torch
    >>> logits = torch.tensor([[3.0, 0.0, 2.5]])
    >>> term = AdaptiveSmoothing(beta=1.0, margin=2.0, top=1.0, other=0.5)
    >>> round(term(logits, torch.tensor([0])).item(), 4)  # (3 - 2)^2 + .5 / 2 * (3 - 0 - 2)^2
    1.25
    """

    def __init__(self, *, beta: float, margin: float, top: float, other: float) -> None:
        super().__init__(beta=beta)
        self.margin = margin
        self.top = top
        self.other = other

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        largest = logits.amax(dim=1, keepdim=True)
        down = (largest[:, 0] - self.margin).clamp(min=0).square()
        up = (
            (largest.detach() - logits - self.margin).clamp(min=0).square()
        )  # the largest itself gives 0
        return self.top * down + self.other * up.sum(dim=1) / (logits.shape[1] - 1)


RECIPE = Recipe(
    title="ACLS",
    source="Park et al. 2023",
    formula="beta mean (top max(0, max z - m)² + other mean_k max(0, max z - z_k - m)²)",
    role="auxiliary",
    build=AdaptiveSmoothing,
    options={
        "beta": Option(0.1, "strength"),
        "margin": Option(10.0, "m, what a logit may be without cost"),
        "top": Option(1.0, "weight of the largest logit"),
        "other": Option(0.1, "weight of the other logits"),
    },
)
