"""Entropy regularization: a penalty on confident predictions.

Source: Pereyra et al. 2017, "Regularizing Neural Networks by Penalizing Confident Output
Distributions", section 3: the loss is cross-entropy MINUS beta * entropy. (Liang et al. 2020,
equation 8, prints a plus.) The default strength is the source's for images.
"""

from torch import Tensor

from training.losses.loss import MeanTerm
from training.losses.recipe import Option, Recipe


class NegativeEntropy(MeanTerm):
    """-beta * mean_i H(p_i), H(p) = -sum_k p_k log p_k, in nats: from -beta log K to 0.

    >>> import torch
    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [1.0, 1e-30]]))
    >>> # -2 (ln 2 + 0) / 2
    >>> round(NegativeEntropy(beta=2.0)(logits, torch.tensor([0, 0])).item(), 4)
    -0.6931
    """

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        return (logs.exp() * logs).sum(dim=1)


RECIPE = Recipe(
    title="entropy",
    source="Pereyra et al. 2017, 3",
    formula="-beta mean entropy of p",
    role="auxiliary",
    build=NegativeEntropy,
    options={"beta": Option(0.1, "strength")},
)
