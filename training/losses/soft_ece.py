"""Soft-binned ECE: the calibration error with smooth bins, so it can be differentiated.

Source: Karandikar et al. 2021, "Soft Calibration Objectives for Neural Networks" (SB-ECE), of order
2. An image belongs to bin b with center x_b by the fraction u_b(p) = softmax_b(-(p - x_b)^2 /
temperature). The authors tune strength and temperature per data set; the defaults here are a
starting point.
"""

import torch
from torch import Tensor

from training.losses.loss import SumTerm, top
from training.losses.recipe import Option, Recipe

SMALLEST = 1e-12  # the square root has no slope at zero, and an empty bin has no mean


class SoftBinnedError(SumTerm):
    """beta * sqrt(sum_b n_b / N * (mean confidence - mean correctness in b)^2), n_b = sum_i
    u_b(p_i).

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> labels = torch.tensor([1, 1])  # e = .5 and -.2
    >>> # .5 is between two bins, and so is .8
    >>> sharp = SoftBinnedError(beta=1.0, bins=10, temperature=1e-4)
    >>> round(sharp(logits, labels).item(), 4)  # sqrt(.25 / 2 + .04 / 2)
    0.3808
    """

    def __init__(self, *, beta: float, bins: float, temperature: float) -> None:
        self.beta = beta
        self.bins = int(bins)
        self.temperature = temperature

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Per bin, the sums of u and of u * (confidence - correctness), (2 * bins,).

        No matrix product: inside autocast it would be computed in half precision.
        """
        confidence, correct = top(logits, labels)
        centers = (
            torch.arange(self.bins, dtype=confidence.dtype, device=confidence.device) + 0.5
        ) / self.bins
        belonging = (-(confidence[:, None] - centers).square() / self.temperature).softmax(
            dim=1
        )  # (N, bins)
        return torch.cat(
            [belonging.sum(dim=0), ((confidence - correct)[:, None] * belonging).sum(dim=0)]
        )

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        sizes, errors = sums.chunk(2)
        square = (errors.square() / sizes.clamp(min=SMALLEST)).sum() / count
        return self.beta * square.clamp(min=SMALLEST).sqrt()


RECIPE = Recipe(
    title="soft ECE",
    source="Karandikar et al. 2021",
    formula="beta sqrt(sum over soft bins n_b / N (mean p - mean c)²)",
    role="auxiliary",
    build=SoftBinnedError,
    options={
        "beta": Option(1.0, "strength"),
        "bins": Option(15.0, "number of bins", low=1.0, high=1000.0),
        "temperature": Option(0.01, "width of a bin, in squared confidence", low=1e-6),
    },
)
