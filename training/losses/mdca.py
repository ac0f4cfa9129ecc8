"""MDCA: the gap of DCA for every class, not only the predicted one.

Source: Hebbalaguppe et al. 2022, "A Stitch in Time Saves Nine". The default strength is that of
their code. They combine it with cross-entropy, label smoothing or focal loss (`focal+mdca`).
"""

from torch import Tensor
from torch.nn import functional

from training.losses.loss import SumTerm, precise
from training.losses.recipe import Option, Recipe


class ClasswiseGap(SumTerm):
    """beta / K * sum_k |mean_i p_ik - mean_i 1[y_i = k]|.

    >>> import torch
    >>> logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]]))
    >>> labels = torch.tensor([0, 0])  # gaps .35 - 1, .45, .2
    >>> round(ClasswiseGap(beta=3.0)(logits, labels).item(), 4)  # .65 + .45 + .2
    1.3
    """

    def __init__(self, *, beta: float) -> None:
        self.beta = beta

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum of probability minus truth of each class, (K,)."""
        probabilities = precise(logits).softmax(dim=1)
        return (probabilities - functional.one_hot(labels, logits.shape[1]).to(probabilities)).sum(
            dim=0
        )

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return self.beta * (sums / count).abs().mean()


RECIPE = Recipe(
    title="MDCA",
    source="Hebbalaguppe et al. 2022",
    formula="beta mean over classes of abs(mean p_k - share of k)",
    role="auxiliary",
    build=ClasswiseGap,
    options={"beta": Option(10.0, "strength; the default of the authors' code")},
)
