"""The form that every loss takes: statistics of a batch, and a shard's share of the loss given them.

A loss over a batch is often not a mean over its images: the gap |mean confidence - mean correctness| of a batch is not
the mean of the gaps of its halves. So each term says what must be known of the *whole* batch before any part of it can
be differentiated (`statistics`, detached, merged over shards), and what one shard then adds (`share`). Shares add up to
the loss of the whole batch, and their gradients to its gradient, exactly, whether the shards are micro-batches of one
process or the processes of a group. A batch in one piece is the case of a single shard.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Term(ABC):
    """One summand of what is minimized, over `logits` (N, K) of any floating type and `labels` int64 (N,)."""

    @abstractmethod
    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What this shard contributes to the knowledge of the whole batch, detached, (S,)."""

    @abstractmethod
    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        """This shard's part of the batch's loss, a differentiable scalar; `statistics` are the whole batch's."""

    def merge(self, shards: Sequence[Tensor]) -> Tensor:
        """Statistics of the whole batch: the sum over its shards. A term over pairs of images would concatenate."""
        return torch.stack(list(shards)).sum(dim=0)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The term of a batch in one piece."""
        return self.share(logits, labels, self.statistics(logits, labels))


@dataclass(frozen=True)
class Objective:
    """The sum of one or more terms: what training minimizes."""

    terms: tuple[Term, ...]

    def statistics(self, logits: Tensor, labels: Tensor) -> list[Tensor]:
        """Each term's statistics of one shard."""
        return [term.statistics(logits, labels) for term in self.terms]

    def merge(self, shards: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Each term's statistics of the whole batch."""
        return [term.merge(parts) for term, parts in zip(self.terms, zip(*shards, strict=True), strict=True)]

    def share(self, logits: Tensor, labels: Tensor, statistics: Sequence[Tensor]) -> Tensor:
        """One shard's part of the objective."""
        known = zip(self.terms, statistics, strict=True)
        return torch.stack([term.share(logits, labels, part) for term, part in known]).sum()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The objective of a batch in one piece."""
        return self.share(logits, labels, self.statistics(logits, labels))


@dataclass(frozen=True)
class LossSettings:
    """What a loss may be built from. `class_weights` (K,) multiply the cross-entropy of each class; None is all ones.

    `beta` is the strength of the auxiliary term, where there is one.
    """

    class_weights: Tensor | None = None
    beta: float = 15.0


Recipe = Callable[[LossSettings], tuple[Term, ...]]


def precise(logits: Tensor) -> Tensor:
    """Logits in float32 at least: softmax and sums in half precision would be off by more than the gap they measure."""
    return logits if logits.dtype == torch.float64 else logits.float()
