"""The terms of a loss for findings: of all known labels together, and of each finding by itself."""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.losses.claims import precise
from training.losses.terms import MainTerm, SumTerm, Term


class KnownLabels(SumTerm):
    """A main term over the known labels of all findings: binary cross-entropy, masked.

    sum_ik w_k[y_ik] cost_ik[y_ik] / sum_ik w_k[y_ik] over the images i and findings k whose label
    y_ik is known. `weights` (K, 2) are of absent and present; None means all ones.

    >>> from training.losses.main_terms import CrossEntropy
    >>> labels = torch.tensor([[1.0, torch.nan], [0.0, 1.0]])
    >>> round(KnownLabels(CrossEntropy())(torch.zeros(2, 2), labels).item(), 4)  # ln 2
    0.6931
    """

    def __init__(self, main: MainTerm, weights: Tensor | None = None) -> None:
        self.main = main
        self.weights = weights

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Weighted costs and weights, (2,)."""
        known = ~labels.isnan()
        said = labels[known].long()
        costs = self.main.costs(precise(logits)[known]).gather(1, said[:, None])[:, 0]
        weights = torch.ones_like(costs)
        if self.weights is not None:
            weights = self.weights.to(costs)[known.nonzero()[:, 1], said]
        return torch.stack([(weights * costs).sum(), weights.sum()])

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return sums[0] / sums[1].clamp(min=torch.finfo(sums.dtype).tiny)


class EachFinding(Term):
    """The mean over the findings of an auxiliary term, each on the images whose label is known.

    The claim of a finding is "present". So DCA's gap is |mean probability - prevalence| of each
    finding in the batch, and MMCE and soft ECE compare probability and outcome. A finding without
    known labels in the batch adds nothing.

    >>> from training.losses.auxiliary_terms import ConfidenceGap
    >>> labels = torch.tensor([[1.0, torch.nan], [1.0, 0.0]])
    >>> # 10 * (|.5 - 1| + |.5 - 0|) / 2
    >>> EachFinding(ConfidenceGap(beta=10.0))(torch.zeros(2, 2), labels)
    tensor(5.)
    """

    def __init__(self, term: Term) -> None:
        self.term = term

    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The statistics of each finding behind their lengths and the numbers of known labels."""
        columns = _columns(logits, labels)
        parts = [self.term.statistics(z, y) for z, y in columns]
        return _packed(parts, [len(y) for _, y in columns])

    def merge(self, shards: Sequence[Tensor]) -> Tensor:
        unpacked = [_unpacked(shard) for shard in shards]
        by_finding = zip(*(parts for parts, _ in unpacked), strict=True)
        known = [sum(each) for each in zip(*(counts for _, counts in unpacked), strict=True)]
        return _packed([self.term.merge(parts) for parts in by_finding], known)

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        parts, known = _unpacked(statistics)
        shares = [
            self.term.share(z, y, part)
            for (z, y), part, count in zip(_columns(logits, labels), parts, known, strict=True)
            if count
        ]
        return torch.stack(shares).sum() / len(parts) if shares else precise(logits).sum() * 0


def finding_weights(labels: Tensor) -> Tensor:
    """Weights (K, 2) of absent and present, float32: n_k / (2 n_ky), so both weigh the same in
    each finding; 0 for what no image is.

    >>> finding_weights(torch.tensor([[1.0], [0.0], [0.0], [torch.nan]]))
    tensor([[0.7500, 1.5000]])
    """
    counts = torch.stack([(labels == said).sum(dim=0) for said in (0, 1)], dim=1).float()
    whole = counts.sum(dim=1, keepdim=True)
    return torch.where(counts > 0, whole / (2 * counts.clamp(min=1)), 0.0)


def _columns(logits: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    known = ~labels.isnan()
    return [(logits[known[:, k], k], labels[known[:, k], k]) for k in range(labels.shape[1])]


def _packed(parts: Sequence[Tensor], known: Sequence[float]) -> Tensor:
    head = parts[0].new_tensor([len(parts), *map(len, parts), *known])
    return torch.cat([head, *parts])


def _unpacked(packed: Tensor) -> tuple[list[Tensor], list[float]]:
    count = int(packed[0])
    lengths = [int(each) for each in packed[1 : count + 1]]
    known = packed[count + 1 : 2 * count + 1].tolist()
    return list(packed[2 * count + 1 :].split(lengths)), known
