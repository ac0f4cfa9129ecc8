"""The history of a fit: loss, accuracy and the gap between confidence and accuracy by epoch."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from training.fitting.schedule import Select
from training.losses.claims import claims
from training.processes.distributed import Group


@dataclass(frozen=True)
class Epoch:
    """One epoch of a fit. A gap is mean confidence minus accuracy, positive when overconfident.

    The train figures come from the training pass itself, with dropout; the val figures come from
    evaluation mode. `val_loss` is the plain cross-entropy, so runs with different losses can be
    compared. With findings, all known labels count: the accuracy is that of "present" from one half
    on, and a gap is mean probability minus prevalence. `head` counts from 0; `kept` marks the epoch
    whose weights were kept.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    train_gap: float
    val_loss: float
    val_accuracy: float
    val_gap: float
    val_ece: float
    head: int = 0
    kept: bool = False


class EpochTotals:
    """Running means of loss, accuracy and gap over batches."""

    def __init__(self) -> None:
        self.images = 0  # with findings, known labels
        self.loss = self.correct = self.gap = 0.0

    def add(self, logits: Tensor, labels: Tensor, loss: float) -> None:
        """Add a batch: `logits` (n, K), `labels` (n,) or (n, K), and its mean loss."""
        found = claims(logits.detach().float(), labels)
        self.images += len(found.confidence)
        self.loss += loss * len(found.confidence)
        self.correct += float(found.right.double().sum())
        self.gap += float((found.confidence.double() - found.true.double()).sum())

    def over(self, group: Group) -> "EpochTotals":
        """The totals over all processes of `group`, each of which added its shards."""
        whole = EpochTotals()
        sums = torch.tensor([self.images, self.loss, self.correct, self.gap], dtype=torch.float64)
        images, whole.loss, whole.correct, whole.gap = group.sum(sums).tolist()
        whole.images = int(images)
        return whole

    @property
    def means(self) -> dict[str, float]:
        """Means by the keys loss, accuracy and gap."""
        count = max(self.images, 1)  # a batch may have no known label
        return {
            "loss": self.loss / count,
            "accuracy": self.correct / count,
            "gap": self.gap / count,
        }


def best(history: Sequence[Epoch], select: Select) -> int:
    """Index of the epoch to keep, the first of equals; -1 for an empty history.

    >>> lines = [Epoch(n, 0, 0, 0, loss, 0.9, 0, 0) for n, loss in enumerate((3, 2, 2))]
    >>> best(lines, "last"), best(lines, "val_nll")
    (2, 1)
    """
    if select == "last" or not history:
        return len(history) - 1
    losses = [epoch.val_loss for epoch in history]
    return losses.index(min(losses))


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """Write history.csv: a column per field of Epoch, a row per epoch; floats read back exactly."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(Epoch)])
        writer.writeheader()
        writer.writerows(asdict(epoch) | {"kept": int(epoch.kept)} for epoch in history)
