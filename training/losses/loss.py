"""The interface of every loss: statistics of a batch, and a shard's share of the loss given those
statistics.

A loss over a batch is often not a mean over its images: the gap |mean confidence - mean
correctness| of a batch is not the mean of the gaps of its halves. So each term has two steps.
`statistics` collects what must be known about the
*whole* batch before any part can be differentiated; they are detached and merged over shards.
`share` then computes the part of one shard. Shares add up to the loss of the whole batch, and their
gradients to its gradient, exactly. Shards are micro-batches of one process or the processes of a
group. A batch in one piece is a single shard.

Most losses need not implement this. They are a mean over images (`MeanTerm`), a function of sums
over images (`SumTerm`), or a cost for each possible label (`MainTerm`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


class Term(ABC):
    """One summand of the objective, over `logits` (N, K) of any floating type and `labels` int64
    (N,).
    """

    held_out: float = 0.0
    """Share of the training images that the main term does not learn, so that this term can be
    measured on them.
    """

    start: float = 0.0
    """Share of the steps of a fit before which the main term learns alone."""

    memory: Tensor = torch.zeros(0)
    """What the term keeps from one batch to the next, if anything; saved in checkpoints."""

    @abstractmethod
    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Statistics of this shard, detached, (S,); `merge` combines them into those of the whole
        batch.
        """

    @abstractmethod
    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        """This shard's part of the loss, a differentiable scalar; `statistics` are those of the
        whole batch.
        """

    def merge(self, shards: Sequence[Tensor]) -> Tensor:
        """Statistics of the whole batch: the sum over its shards. A term over pairs of images
        concatenates instead.
        """
        return torch.stack(list(shards)).sum(dim=0)

    def observe(self, statistics: Tensor) -> None:  # noqa: B027 (most terms keep nothing)
        """Called once per batch, before its shares; a term with memory updates it here."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The term of a whole batch."""
        statistics = self.statistics(logits, labels)
        self.observe(statistics)
        return self.share(logits, labels, statistics)


class SumTerm(Term):
    """A differentiable function of sums over the images, such as the gap between two means.

    For a whole batch, the term is that function. For shards, the chain rule makes it exact: if S
    are the sums of the whole batch, the gradient of a shard is value'(S) times that of its own
    sums. Values are divided by image count.
    """

    @abstractmethod
    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sums over these images, differentiable, (S,)."""

    @abstractmethod
    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        """The term, a scalar, from the sums over `count` images."""

    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sums and the number of images, (S + 1,)."""
        sums = self.sums(logits.detach(), labels)
        return torch.cat([sums, sums.new_tensor([len(logits)])])

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        whole, count = statistics[:-1].clone().requires_grad_(), statistics[-1]
        with torch.enable_grad():
            value = self.value(whole, count)
            (slope,) = torch.autograd.grad(value, whole)
        own = self.sums(logits, labels)
        return value.detach() * len(logits) / count + (slope * (own - own.detach())).sum()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        sums = self.sums(logits, labels)
        return self.value(sums, sums.new_tensor(len(logits)))


class MeanTerm(SumTerm):
    """A mean over the images, times `beta`."""

    def __init__(self, *, beta: float) -> None:
        self.beta = beta

    @abstractmethod
    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each image, (N,)."""

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.losses(precise(logits), labels).sum().reshape(1)

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return self.beta * sums[0] / count


class MainTerm(SumTerm):
    """sum_i w[y_i] cost_i[y_i] / sum_i w[y_i]: the term that learns the labels; every objective has
    exactly one.

    It defines the cost of every possible label, so labels may also be probabilities (N, K), as from
    mixup; the cost is then their mean. `class_weights` (K,) weight the classes; None means all
    ones.
    """

    def __init__(self, class_weights: Tensor | None = None) -> None:
        self.class_weights = class_weights

    @abstractmethod
    def costs(self, logits: Tensor) -> Tensor:
        """The cost of each label, (N, K), from logits in float32 or float64."""

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Weighted costs and weights, (2,)."""
        costs = self.costs(precise(logits))
        weights = (
            costs.new_ones(costs.shape[1])
            if self.class_weights is None
            else self.class_weights.to(costs)
        )
        if not labels.is_floating_point():
            weight = weights[labels]  # (N,)
            return torch.stack(
                [(weight * costs.gather(1, labels[:, None])[:, 0]).sum(), weight.sum()]
            )
        targets = weights * labels.to(costs)  # (N, K)
        return torch.stack([(targets * costs).sum(), targets.sum()])

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return sums[0] / sums[1]


def precise(logits: Tensor) -> Tensor:
    """Logits in float32 or float64: in half precision, softmax and sums have errors larger than the
    gap.
    """
    return logits if logits.dtype == torch.float64 else logits.float()


def top(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence of the top label, (N,) with gradient, and its correctness, (N,) of 0 and 1,
    without gradient.
    """
    confidence, predicted = precise(logits).softmax(dim=1).max(dim=1)
    return confidence, (predicted == labels).to(confidence.dtype)
