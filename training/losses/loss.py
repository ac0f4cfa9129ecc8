"""The form that every loss takes: statistics of a batch, and a shard's share of the loss given them.

A loss over a batch is often not a mean over its images: the gap |mean confidence - mean correctness| of a batch is not
the mean of the gaps of its halves. So each term says what must be known of the *whole* batch before any part of it can
be differentiated (`statistics`, detached, merged over shards), and what one shard then adds (`share`). Shares add up to
the loss of the whole batch, and their gradients to its gradient, exactly, whether the shards are micro-batches of one
process or the processes of a group. A batch in one piece is the case of a single shard.

A new loss rarely needs to know this: it is a mean over images (`MeanTerm`), a function of sums over images (`SumTerm`),
or a price for each label that an image could have (`MainTerm`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


class Term(ABC):
    """One summand of what is minimized, over `logits` (N, K) of any floating type and `labels` int64 (N,)."""

    memory: Tensor = torch.zeros(0)
    """What the term remembers from one batch to the next, where it does: kept in checkpoints."""

    @abstractmethod
    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What this shard contributes to the knowledge of the whole batch, detached, (S,)."""

    @abstractmethod
    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        """This shard's part of the batch's loss, a differentiable scalar; `statistics` are the whole batch's."""

    def merge(self, shards: Sequence[Tensor]) -> Tensor:
        """Statistics of the whole batch: the sum over its shards. A term over pairs of images concatenates."""
        return torch.stack(list(shards)).sum(dim=0)

    def observe(self, statistics: Tensor) -> None:  # noqa: B027 (most terms remember nothing)
        """Called once a batch, before its shares: where a term with memory learns of the whole batch."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The term of a batch in one piece."""
        statistics = self.statistics(logits, labels)
        self.observe(statistics)
        return self.share(logits, labels, statistics)


class SumTerm(Term):
    """A differentiable function of sums over the images, such as the gap between two means.

    A batch in one piece is that function itself. In shards, the chain rule makes it exact: with S the sums of the whole
    batch, a shard's gradient is value'(S) times the gradient of its own sums. The value is shared out by image.
    """

    @abstractmethod
    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Sums over these images, differentiable, (S,)."""

    @abstractmethod
    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        """The term, a scalar, from the sums over `count` images."""

    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sums, and the number of images, (S + 1,)."""
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
    """sum_i w[y_i] cost_i[y_i] / sum_i w[y_i]: what teaches the labels; any objective has exactly one.

    It knows the cost of every label that an image could have, so the labels may also be probabilities (N, K), as mixup
    makes them: the cost is then the mean over them. `class_weights` (K,) weigh the classes; None is all ones.
    """

    def __init__(self, class_weights: Tensor | None = None) -> None:
        self.class_weights = class_weights

    @abstractmethod
    def costs(self, logits: Tensor) -> Tensor:
        """What each label would cost, (N, K), from logits in float32 or float64."""

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Weighted costs and weights, (2,)."""
        costs = self.costs(precise(logits))
        weights = costs.new_ones(costs.shape[1]) if self.class_weights is None else self.class_weights.to(costs)
        if not labels.is_floating_point():
            weight = weights[labels]  # (N,)
            return torch.stack([(weight * costs.gather(1, labels[:, None])[:, 0]).sum(), weight.sum()])
        targets = weights * labels.to(costs)  # (N, K)
        return torch.stack([(targets * costs).sum(), targets.sum()])

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return sums[0] / sums[1]


def precise(logits: Tensor) -> Tensor:
    """Logits in float32 at least: softmax and sums in half precision would be off by more than the gap they measure."""
    return logits if logits.dtype == torch.float64 else logits.float()


def top(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence of the top label, (N,) with gradient, and its correctness, (N,) of 0 and 1, without."""
    confidence, predicted = precise(logits).softmax(dim=1).max(dim=1)
    return confidence, (predicted == labels).to(confidence.dtype)
