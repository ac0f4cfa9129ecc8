"""DCA: the difference between confidence and accuracy, as an auxiliary loss, in four forms.

On the images that cross-entropy learns, a network soon is right and sure of it: the gap there is
about zero, whatever it is on other images. So by default the gap is taken where cross-entropy does
not look, on a share `held_out` of the training images, in evaluation mode. It starts after a share
`start` of the steps, since a network that knows nothing yet has no gap worth closing, and a strong
push keeps it from learning. `held_out=0 start=0` is the paper's loss.

Source: Liang et al. 2020, equations 5 and 6: beta * |mean_i c_i - mean_i p_i| over the mini-batch,
p_i the top-label confidence and c_i 1 if the top label is right. The accuracy term has no gradient;
the term is not weighted by class. The batch size is a hyperparameter: even a calibrated model has a
gap of about sqrt(2/pi) sigma / sqrt(N), and the sign of that noise determines the gradient. The
other forms are ours, and experiments: squared and Huber push less if the gap is small, and the
running mean takes its sign from many batches.
"""

import torch
from torch import Tensor

from training.losses.loss import SumTerm, Term, top
from training.losses.recipe import Option, Recipe


class ConfidenceGap(SumTerm):
    """beta * |G| with G = mean_i (p_i - c_i).

    Its gradient is beta * sign(G) / N * p_i * (1[j = top_i] - softmax(z_i)_j) for logit z_ij.

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> # 10 * |1.3 / 2 - 1 / 2|
    >>> round(ConfidenceGap(beta=10.0)(logits, torch.tensor([1, 1])).item(), 4)
    1.5
    """

    def __init__(self, *, beta: float, held_out: float = 0.0, start: float = 0.0) -> None:
        self.beta = beta
        self.held_out = held_out
        self.start = start

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum of (confidence - correctness), (1,)."""
        confidence, correct = top(logits, labels)
        return (confidence - correct).sum().reshape(1)

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return self.beta * (sums[0] / count).abs()


class OneSidedGap(ConfidenceGap):
    """beta * G above zero and beta * under * |G| below: confidence is lowered more readily than
    raised.

    With `under` 0 nothing would stop confidence from falling to 1 / K once it is too low; a share
    is the safeguard.

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> loss = OneSidedGap(beta=10.0, under=0.2)  # G = .15 and -.35
    >>> [round(loss(logits, torch.tensor([label, 1])).item(), 4) for label in (1, 0)]
    [1.5, 0.7]
    """

    def __init__(
        self, *, beta: float, under: float, held_out: float = 0.0, start: float = 0.0
    ) -> None:
        super().__init__(beta=beta, held_out=held_out, start=start)
        self.under = under

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        gap = sums[0] / count
        return self.beta * torch.where(gap > 0, gap, -self.under * gap)


class AnsweredClassGap(ConfidenceGap):
    """beta * sum_k |S_k| / N, S_k the sum of p_i - c_i over the images whose top label is k.

    Too high a confidence in one answer no longer makes up for too low a confidence in another.

    >>> logits = torch.log(torch.tensor([[0.6, 0.4], [0.2, 0.8]]))
    >>> loss = AnsweredClassGap(beta=10.0)  # S = .6 and -.2
    >>> round(loss(logits, torch.tensor([1, 1])).item(), 4)  # 10 * (.6 + .2) / 2
    4.0
    """

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sum of (confidence - correctness) by top label, (K,)."""
        confidence, correct = top(logits, labels)
        gaps = confidence - correct
        return gaps.new_zeros(logits.shape[1]).index_add(0, logits.argmax(dim=1), gaps)

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return self.beta * sums.abs().sum() / count


class WeightedGap(ConfidenceGap):
    """beta * |sum_i w[y_i] (p_i - c_i) / sum_i w[y_i]|: the gap with the class weights of
    cross-entropy.

    The paper weights cross-entropy alone, which then learns balanced classes while the gap is that
    of natural ones.

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> # p - c = .5 with weight 1, -.2 with weight 1
    >>> loss = WeightedGap(torch.tensor([3.0, 1.0]), beta=10.0)
    >>> round(loss(logits, torch.tensor([1, 1])).item(), 4)
    1.5
    >>> round(loss(logits, torch.tensor([0, 1])).item(), 4)  # |3 * -.5 - .2| / 4
    4.25
    """

    def __init__(
        self,
        class_weights: Tensor | None = None,
        *,
        beta: float,
        held_out: float = 0.0,
        start: float = 0.0,
    ) -> None:
        super().__init__(beta=beta, held_out=held_out, start=start)
        self.class_weights = class_weights

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Weighted sum of (confidence - correctness), and of the weights, (2,)."""
        confidence, correct = top(logits, labels)
        weights = (
            torch.ones_like(confidence)
            if self.class_weights is None
            else self.class_weights.to(confidence)[labels]
        )
        return torch.stack([(weights * (confidence - correct)).sum(), weights.sum()])

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return self.beta * (sums[0] / sums[1]).abs()


class SquaredGap(ConfidenceGap):
    """beta * G^2; with beta 150 its slope equals that of 15 |G| at a gap of .05.

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> round(SquaredGap(beta=100.0)(logits, torch.tensor([1, 1])).item(), 4)  # 100 * 0.15 ** 2
    2.25
    """

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return self.beta * (sums[0] / count).square()


class HuberGap(ConfidenceGap):
    """beta * (G^2 / (2 delta) if |G| < delta, else |G| - delta / 2).

    >>> logits = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    >>> labels = torch.tensor([1, 1])  # G = 0.15
    >>> [round(HuberGap(beta=10.0, delta=delta)(logits, labels).item(), 4) for delta in (0.1, 0.3)]
    [1.0, 0.375]
    """

    def __init__(
        self, *, beta: float, delta: float, held_out: float = 0.0, start: float = 0.0
    ) -> None:
        super().__init__(beta=beta, held_out=held_out, start=start)
        self.delta = delta

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        gap = (sums[0] / count).abs()
        return self.beta * torch.where(
            gap < self.delta, gap.square() / (2 * self.delta), gap - self.delta / 2
        )


class RunningGap(ConfidenceGap):
    """beta * |R|, R the running mean of G over batches; its gradient is beta * sign(R) * gradient
    of G.

    R = sum_s momentum^s G_(t-s) / sum_s momentum^s, so R of the first batch is its G. The gradient
    of R would be smaller by the factor 1 - momentum. Only the noise of the sign should shrink, so R
    is not differentiated.

    >>> logits, gap = torch.log(torch.tensor([[0.5, 0.5], [0.2, 0.8]])), RunningGap(beta=10.0, momentum=0.5)
    >>> # G = .15 where the tie is 0, -.35
    >>> [round(gap(logits, torch.tensor([label, 1])).item(), 4) for label in (1, 0)]
    [1.5, 1.8333]
    """

    def __init__(
        self, *, beta: float, momentum: float, held_out: float = 0.0, start: float = 0.0
    ) -> None:
        super().__init__(beta=beta, held_out=held_out, start=start)
        self.momentum = momentum
        self.memory = torch.zeros(2, dtype=torch.float64)  # sums of momentum^s G and of momentum^s

    def observe(self, statistics: Tensor) -> None:
        gap = float(statistics[0] / statistics[1])
        self.memory = self.momentum * self.memory + torch.tensor([gap, 1.0], dtype=torch.float64)

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        running, count = self.memory[0] / self.memory[1], statistics[-1]
        own = self.sums(logits, labels)[0]
        steered = float(running.sign()) * (own - own.detach())
        return self.beta * (float(running.abs()) * len(logits) + steered) / count

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return Term.__call__(self, logits, labels)


BETA = Option(2.0, "strength; the paper uses 10 to 15 on the images that cross-entropy learns")
HELD_OUT = Option(
    0.2, "share of the training images for this term alone; 0: all terms see all images", high=0.9
)
START = Option(0.4, "share of the steps before which cross-entropy learns alone", high=1.0)
SOURCE = "Liang et al. 2020, eq. 5 and 6"

RECIPE = Recipe(
    title="DCA",
    source=SOURCE,
    formula="beta abs(G)",
    role="auxiliary",
    build=ConfidenceGap,
    options={"beta": BETA, "held_out": HELD_OUT, "start": START},
)
ONE_SIDED = Recipe(
    title="DCA one-sided (experiment)",
    source=f"after {SOURCE}",
    formula="beta G above 0, beta under abs(G) below",
    role="auxiliary",
    build=OneSidedGap,
    options={
        "beta": BETA,
        "held_out": HELD_OUT,
        "start": START,
        "under": Option(0.2, "share of the strength where confidence is too low", high=1.0),
    },
)
BY_ANSWER = Recipe(
    title="DCA by predicted class (experiment)",
    source=f"after {SOURCE}",
    formula="beta sum over k of abs(sum of p - c where k is predicted) / N",
    role="auxiliary",
    build=AnsweredClassGap,
    options={"beta": BETA, "held_out": HELD_OUT, "start": START},
)
WEIGHTED = Recipe(
    title="DCA weighted by class (experiment)",
    source=f"after {SOURCE}",
    formula="beta abs(sum w[y] (p - c) / sum w[y])",
    role="auxiliary",
    build=WeightedGap,
    options={"beta": BETA, "held_out": HELD_OUT, "start": START},
    weighted=True,
)
SQUARED = Recipe(
    title="DCA squared (experiment)",
    source=f"after {SOURCE}",
    formula="beta G²",
    role="auxiliary",
    build=SquaredGap,
    options={
        "beta": Option(150.0, "strength; 150 has the slope of dca's 15 at a gap of .05"),
        "held_out": HELD_OUT,
        "start": START,
    },
)
HUBER = Recipe(
    title="DCA Huber (experiment)",
    source=f"after {SOURCE}",
    formula="beta (G² / 2 delta below delta, else abs(G) - delta / 2)",
    role="auxiliary",
    build=HuberGap,
    options={
        "beta": BETA,
        "held_out": HELD_OUT,
        "start": START,
        "delta": Option(
            0.05, "gap at which the gradient reaches its full size", low=1e-6, high=1.0
        ),
    },
)
RUNNING = Recipe(
    title="DCA running (experiment)",
    source=f"after {SOURCE}",
    formula="beta abs(R), R the running mean of G; gradient beta sign(R) times that of G",
    role="auxiliary",
    build=RunningGap,
    options={
        "beta": BETA,
        "held_out": HELD_OUT,
        "start": START,
        "momentum": Option(0.9, "weight of the past", high=0.999),
    },
)
