"""The objective of training: one main term, any number of auxiliary terms, optionally mixed inputs
for the main one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.losses.loss import Term
from training.losses.mixup import Mixup


@dataclass(frozen=True)
class View:
    """`logits` (N, K) of a shard, and its `labels` int64 (N,) or probabilities (N, K)."""

    logits: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Objective:
    """The sum of `terms`, the main one first.

    With `mixing`, the main term sees mixed images with mixed labels (the view `mixed`). The other
    terms compare confidence with correctness, so they see the unmixed images. With `held_out`, the
    other terms see images that the main one does not learn, and the main one has a view of its own
    too. Otherwise there is one view for all.
    """

    terms: tuple[Term, ...]
    mixing: Mixup | None = None

    @property
    def held_out(self) -> float:
        """Share of the training images for the other terms alone: the largest that one of them asks
        for.
        """
        return max(term.held_out for term in self.terms)

    @property
    def start(self) -> float:
        """Share of the steps before which the main term learns alone: the largest that a term asks
        for.
        """
        return max(term.start for term in self.terms)

    @property
    def main(self) -> "Objective":
        """The main term alone."""
        return Objective(self.terms[:1], self.mixing)

    def statistics(self, logits: Tensor, labels: Tensor, main: View | None = None) -> list[Tensor]:
        """Each term's statistics of one shard."""
        views = self._views(logits, labels, main)
        return [
            term.statistics(view.logits, view.labels)
            for term, view in zip(self.terms, views, strict=True)
        ]

    def merge(self, shards: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Each term's statistics of the whole batch."""
        return [
            term.merge(parts)
            for term, parts in zip(self.terms, zip(*shards, strict=True), strict=True)
        ]

    def observe(self, statistics: Sequence[Tensor]) -> None:
        """Pass each term the statistics of the whole batch; called once per batch, before its
        shares.
        """
        for term, part in zip(self.terms, statistics, strict=True):
            term.observe(part)

    def share(
        self, logits: Tensor, labels: Tensor, statistics: Sequence[Tensor], main: View | None = None
    ) -> Tensor:
        """One shard's part of the objective."""
        views = self._views(logits, labels, main)
        known = zip(self.terms, views, statistics, strict=True)
        return torch.stack(
            [term.share(view.logits, view.labels, part) for term, view, part in known]
        ).sum()

    def __call__(self, logits: Tensor, labels: Tensor, main: View | None = None) -> Tensor:
        """The objective of a whole batch."""
        views = self._views(logits, labels, main)
        return torch.stack(
            [term(view.logits, view.labels) for term, view in zip(self.terms, views, strict=True)]
        ).sum()

    def _views(self, logits: Tensor, labels: Tensor, main: View | None) -> list[View]:
        clean = View(logits, labels)
        return [main or clean, *[clean] * (len(self.terms) - 1)]
