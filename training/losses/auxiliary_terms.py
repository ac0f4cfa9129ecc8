"""Auxiliary terms, added to the main one: DCA, MMCE, soft-binned ECE and negative entropy."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from training.losses.claims import claims, log_probabilities
from training.losses.terms import Loss, MeanTerm, Option, SumTerm, Term

KERNEL_WIDTH = 0.4  # of MMCE
SMALLEST = 1e-12  # the square root has no slope at zero, and an empty bin has no mean


class ConfidenceGap(SumTerm):
    """DCA: beta * |G| with G = mean_i (p_i - c_i), p_i the top-label confidence of image i of the
    mini-batch and c_i 1 if its top label is right, else 0. Of one finding, p_i is the probability
    of presence and c_i 1 if it is present.

    Source: Liang et al. 2020, equations 5 and 6. The accuracy term has no gradient, and the gap is
    not weighted by class. The batch size is a hyperparameter: even a calibrated model has a gap of
    about sqrt(2/pi) sigma / sqrt(N), and the sign of that noise determines the gradient.

    Its gradient is beta * sign(G) / N * p_i * (1[j = top_i] - softmax(z_i)_j) for logit z_ij.

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> # 10 * |1.3 / 2 - 1 / 2|
    >>> round(ConfidenceGap(beta=10.0)(logits, torch.tensor([1, 1])).item(), 4)
    1.5
    """

    def __init__(self, *, beta: float) -> None:
        self.beta = beta

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum of (confidence - correctness), (1,)."""
        confidence, correct, _ = claims(logits, labels)
        return (confidence - correct).sum().reshape(1)

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return self.beta * (sums[0] / count).abs()


class NegativeEntropy(MeanTerm):
    """-beta * mean_i H(p_i), H(p) = -sum_k p_k log p_k, in nats: from -beta log K to 0.

    Source: Pereyra et al. 2017, "Regularizing Neural Networks by Penalizing Confident Output
    Distributions", section 3: cross-entropy MINUS beta * entropy. (Liang et al. 2020, equation 8,
    prints a plus.)

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [1.0, 1e-30]]))
    >>> # -2 (ln 2 + 0) / 2
    >>> round(NegativeEntropy(beta=2.0)(logits, torch.tensor([0, 0])).item(), 4)
    -0.6931
    """

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        logs = log_probabilities(logits)
        return (logs.exp() * logs).sum(dim=1)


class SoftBinnedError(SumTerm):
    """beta * sqrt(sum_b n_b / N * (mean confidence - mean correctness in b)^2), n_b = sum_i
    u_b(p_i).

    Source: Karandikar et al. 2021, "Soft Calibration Objectives for Neural Networks" (SB-ECE), of
    order 2. An image belongs to bin b with center x_b by the fraction u_b(p) = softmax_b(-(p -
    x_b)^2 / temperature). The authors tune strength and temperature per data set; the defaults are
    a starting point.

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
        confidence, correct, _ = claims(logits, labels)
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


class KernelError(Term):
    """beta * MMCE: a kernel distance between confidence and correctness over pairs of a batch.

    MMCE^2 = sum_ij e_i e_j k(p_i, p_j) / m^2 for m images, with e = correctness - confidence and
    the Laplacian kernel k(p, q) = exp(-|p - q| / .4). The `weighted` form gives the n right and the
    m - n wrong images equal weight: e / m becomes (1 - p) / n for a right one and -p / (m - n) for
    a wrong one. An image that is alone of its kind then weighs as much as all others together, in
    a batch of any size. So the weighted form can collapse at its authors' strength.

    Source: Kumar, Sarawagi and Jain 2018, "Trainable Calibration Measures for Neural Networks from
    Kernel Mean Embeddings". (Liang et al. 2020 print the weighted form with m and n exchanged; the
    code of the 2018 paper divides its sums over pairs twice.)

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
        return torch.stack(claims(logits.detach(), labels)[:2], dim=1).reshape(-1)

    def merge(self, shards: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(shards))

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        """One image of each pair has a gradient; both orders of a pair add up to the full one."""
        all_p, all_c = statistics.reshape(-1, 2).unbind(dim=1)
        p, c, _ = claims(logits, labels)
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
    """sum_ij left_i kernel_ij right_j; no matrix product, since autocast would round it."""
    return (left[:, None] * kernel * right[None, :]).sum()


def _kernel(p: Tensor, q: Tensor) -> Tensor:
    """exp(-|p_i - q_j| / .4), (N, M)."""
    return torch.exp(-(p[:, None] - q[None, :]).abs() / KERNEL_WIDTH)


DCA = Loss(
    title="DCA",
    source="Liang et al. 2020, eq. 5 and 6",
    formula="beta abs(mean p - mean c)",
    role="auxiliary",
    build=ConfidenceGap,
    options={"beta": Option(10.0, "strength; the paper uses 10 to 15")},
)
ENTROPY = Loss(
    title="entropy",
    source="Pereyra et al. 2017, 3",
    formula="-beta mean entropy of p",
    role="auxiliary",
    build=NegativeEntropy,
    options={"beta": Option(0.1, "strength")},
)
SOFT_ECE = Loss(
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
MMCE_BETA = Option(4.0, "strength; the default of the authors' code")
MMCE = Loss(
    title="MMCE",
    source="Kumar et al. 2018",
    formula="beta sqrt(sum e_i e_j k(p_i, p_j)) / m, e = correctness - confidence, k = "
    "exp(-abs(p_i - p_j) / .4)",
    role="auxiliary",
    build=KernelError,
    options={"beta": MMCE_BETA},
)
MMCE_WEIGHTED = Loss(
    title="weighted MMCE",
    source="Kumar et al. 2018",
    formula="e / m is (1 - p) / n where right, -p / (m - n) where wrong, n of m right",
    role="auxiliary",
    build=partial(KernelError, weighted=True),
    options={"beta": MMCE_BETA},
)
