"""What training minimizes: one main term, any number of auxiliary ones, perhaps mixed inputs for the main one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.losses.loss import Term
from training.losses.mixup import Mixup


@dataclass(frozen=True)
class View:
    """One way in which the network saw a shard: `logits` (N, K), and `labels` int64 (N,) or probabilities (N, K)."""

    logits: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Objective:
    """The sum of `terms`, the main one first.

    With `mixing` the main term sees mixed images with their mixed labels (the view `mixed`); the others, which compare
    confidence with correctness, see the images as they are. Without, all see the one view.
    """

    terms: tuple[Term, ...]
    mixing: Mixup | None = None

    def statistics(self, logits: Tensor, labels: Tensor, mixed: View | None = None) -> list[Tensor]:
        """Each term's statistics of one shard."""
        views = self._views(logits, labels, mixed)
        return [term.statistics(view.logits, view.labels) for term, view in zip(self.terms, views, strict=True)]

    def merge(self, shards: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Each term's statistics of the whole batch."""
        return [term.merge(parts) for term, parts in zip(self.terms, zip(*shards, strict=True), strict=True)]

    def observe(self, statistics: Sequence[Tensor]) -> None:
        """Tell each term, once a batch and before its shares, what the whole batch is like."""
        for term, part in zip(self.terms, statistics, strict=True):
            term.observe(part)

    def share(self, logits: Tensor, labels: Tensor, statistics: Sequence[Tensor], mixed: View | None = None) -> Tensor:
        """One shard's part of the objective."""
        views = self._views(logits, labels, mixed)
        known = zip(self.terms, views, statistics, strict=True)
        return torch.stack([term.share(view.logits, view.labels, part) for term, view, part in known]).sum()

    def __call__(self, logits: Tensor, labels: Tensor, mixed: View | None = None) -> Tensor:
        """The objective of a batch in one piece."""
        views = self._views(logits, labels, mixed)
        return torch.stack([term(view.logits, view.labels) for term, view in zip(self.terms, views, strict=True)]).sum()

    def _views(self, logits: Tensor, labels: Tensor, mixed: View | None) -> list[View]:
        clean = View(logits, labels)
        return [mixed or clean, *[clean] * (len(self.terms) - 1)]
