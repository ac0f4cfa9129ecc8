"""MMCE: maximum mean calibration error, a kernel distance between confidence and correctness.

Source: Kumar, Sarawagi and Jain 2018, "Trainable Calibration Measures for Neural Networks from
Kernel Mean Embeddings", their two estimators, with the Laplacian kernel k(p, q) = exp(-|p - q| /
.4). Over pairs of a batch of m images, n of them right: MMCE^2 = sum_ij e_i e_j k(p_i, p_j) / m^2
with e = correctness - confidence. The weighted form gives right and wrong images equal weight: e /
m becomes (1 - p) / n for a right one and -p / (m - n) for a wrong one. If a batch has none of a
kind, its terms are left out. (Liang et al. 2020 print the weighted form with m and n exchanged; the
code of the 2018 paper divides its sums over pairs twice.)

In the weighted form an image that is alone of its kind weighs as much as all images of the other
kind together: 1, not 1 / m. With the kernel at 1 its slope by the confidence is beta in a batch of
any size, while its part of cross-entropy shrinks with the batch. In a batch of one image, MMCE is
beta |e| in both forms, so its slope is beta even near zero. Both follow from the published
estimator. They are why the weighted form can collapse at its authors' strength.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.losses.loss import Term, top
from training.losses.recipe import Option, Recipe

WIDTH = 0.4
SMALLEST = 1e-12  # the square root has no slope at zero


class KernelError(Term):
    """beta * MMCE, of a batch; `weighted` is the weighted form.

    >>> logits = torch.log(torch.tensor([[0.9, 0.1], [0.9, 0.1]]))
    >>> labels = torch.tensor([0, 1])  # e = .1 and -.9, both at confidence .9, so k = 1
    >>> round(KernelError(beta=1.0)(logits, labels).item(), 4)  # |.1 - .9| / 2
    0.4
    >>> round(KernelError(beta=1.0, weighted=True)(logits, labels).item(), 4)  # |.1 / 1 - .9 / 1|
    0.8
    """

    def __init__(self, *, beta: float, weighted: bool = False) -> None:
        self.beta = beta
        self.weighted = weighted

    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Confidence and correctness of each image, flat, (2N,)."""
        return torch.stack(top(logits.detach(), labels), dim=1).reshape(-1)

    def merge(self, shards: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(shards))

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        """Only one image of each pair has a gradient; the two orders of a pair add up to the full
        one.
        """
        all_p, all_c = statistics.reshape(-1, 2).unbind(dim=1)
        p, c = top(logits, labels)
        right, count = all_c.sum(), len(all_c)
        every = self._errors(all_p, all_c, right=right, count=count)  # (M,)
        own = self._errors(p, c, right=right, count=count)  # (N,)
        square = _over_pairs(every, every, _kernel(all_p, all_p)).clamp(min=SMALLEST)
        return self.beta * _over_pairs(own, every, _kernel(p, all_p)) / square.sqrt()

    def _errors(self, p: Tensor, c: Tensor, *, right: Tensor, count: int) -> Tensor:
        if not self.weighted:
            return (c - p) / count
        return torch.where(c > 0, (1 - p) / right.clamp(min=1), -p / (count - right).clamp(min=1))


def _over_pairs(left: Tensor, right: Tensor, kernel: Tensor) -> Tensor:
    """sum_ij left_i kernel_ij right_j, without a matrix product, which autocast would compute in
    half precision.
    """
    return (left[:, None] * kernel * right[None, :]).sum()


def _kernel(p: Tensor, q: Tensor) -> Tensor:
    """exp(-|p_i - q_j| / .4), (N, M)."""
    return torch.exp(-(p[:, None] - q[None, :]).abs() / WIDTH)


def _weighted(*, beta: float) -> KernelError:
    return KernelError(beta=beta, weighted=True)


SOURCE = "Kumar et al. 2018"
BETA = Option(4.0, "strength; the default of the authors' code")

RECIPE = Recipe(
    title="MMCE",
    source=SOURCE,
    formula="beta sqrt(sum e_i e_j k(p_i, p_j)) / m, e = correctness - confidence, k = "
    "exp(-abs(p_i - p_j) / .4)",
    role="auxiliary",
    build=KernelError,
    options={"beta": BETA},
)
WEIGHTED = Recipe(
    title="weighted MMCE",
    source=SOURCE,
    formula="e / m is (1 - p) / n where right, -p / (m - n) where wrong, n of m right",
    role="auxiliary",
    build=_weighted,
    options={"beta": BETA},
)
