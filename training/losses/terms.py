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

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from training.losses.claims import precise


class Term(ABC):
    """One summand of the objective, over `logits` (N, K) and `labels` int64 (N,), or over those of
    one finding, (N,) and 0 or 1 (N,).
    """

    @abstractmethod
    def statistics(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Statistics of this shard, detached, (S,), for `merge`."""

    @abstractmethod
    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        """This shard's part of the loss, differentiable; `statistics` are the whole batch's."""

    def merge(self, shards: Sequence[Tensor]) -> Tensor:
        """Statistics of the whole batch: the sum over shards, for most terms."""
        return torch.stack(list(shards)).sum(dim=0)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The term of a whole batch."""
        return self.share(logits, labels, self.statistics(logits, labels))


@dataclass(frozen=True)
class MixedLabels:
    """Labels of mixed images: `first` (N, ...) has the `weight`, `second` the rest of 1."""

    first: Tensor
    second: Tensor
    weight: float

    def tensor_split(self, count: int) -> "list[MixedLabels]":
        """The same in `count` parts, as of a tensor."""
        parts = zip(self.first.tensor_split(count), self.second.tensor_split(count), strict=True)
        return [MixedLabels(first, second, self.weight) for first, second in parts]


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
        sums = self._sums(logits.detach(), labels)
        return torch.cat([sums, sums.new_tensor([len(logits)])])

    def share(self, logits: Tensor, labels: Tensor, statistics: Tensor) -> Tensor:
        whole, count = statistics[:-1].clone().requires_grad_(), statistics[-1]
        with torch.enable_grad():
            value = self.value(whole, count)
            (slope,) = torch.autograd.grad(value, whole)
        own = self._sums(logits, labels)
        return value.detach() * len(logits) / count + (slope * (own - own.detach())).sum()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        sums = self._sums(logits, labels)
        return self.value(sums, sums.new_tensor(len(logits)))

    def _sums(self, logits: Tensor, labels: Tensor | MixedLabels) -> Tensor:
        if isinstance(labels, MixedLabels):
            first, second = (self.sums(logits, each) for each in (labels.first, labels.second))
            return labels.weight * first + (1 - labels.weight) * second
        return self.sums(logits, labels)


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

    `class_weights` (K,) weight the classes; None means all ones.
    """

    def __init__(self, class_weights: Tensor | None = None) -> None:
        self.class_weights = class_weights

    @abstractmethod
    def costs(self, logits: Tensor) -> Tensor:
        """The cost of each label, (N, K), from logits in float32 or float64; of absent and present,
        (N, 2), from those of one finding (N,).
        """

    def sums(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Weighted costs and weights, (2,)."""
        costs = self.costs(precise(logits)).gather(1, labels[:, None])[:, 0]
        if self.class_weights is None:
            weights = torch.ones_like(costs)
        else:
            weights = self.class_weights.to(costs)[labels]
        return torch.stack([(weights * costs).sum(), weights.sum()])

    def value(self, sums: Tensor, count: Tensor) -> Tensor:
        return sums[0] / sums[1]


Role = Literal["main", "auxiliary"]


@dataclass(frozen=True)
class Option:
    """A numeric option: its default, its meaning, and its range, ends included."""

    default: float
    meaning: str
    low: float = 0.0
    high: float = math.inf

    def accepts(self, value: float) -> bool:
        """Whether `value` is a finite number in the range."""
        return math.isfinite(value) and self.low <= value <= self.high


@dataclass(frozen=True)
class Loss:
    """An entry of the registry. `build` takes the options by keyword; that of a main term also
    takes `class_weights`.

    `formula` is one readable line; `source` names the paper.
    """

    title: str
    source: str
    formula: str
    role: Role
    build: Callable[..., Any]
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def defaults(self) -> str:
        """Options and defaults, such as `beta=1 bins=15`; empty if there are none."""
        return " ".join(f"{name}={option.default:g}" for name, option in self.options.items())


@dataclass(frozen=True)
class LossSettings:
    """Settings of an objective. `class_weights` (K,) multiply the main term's cost of each class;
    for findings (K, 2), of absent and present.

    `beta` is the strength of the auxiliary term, if there is one; None means its default. `options`
    are further options by name: `gamma`, or `focal.gamma` if two parts have a gamma.
    """

    class_weights: Tensor | None = None
    beta: float | None = None
    options: Mapping[str, float] = field(default_factory=dict)
