"""The schedule of a fit: length, learning rate, averaging, epoch to keep, and its optimizer."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

OptimizerName = Literal["adam", "adamw", "sgd"]
Decay = Literal["none", "cosine"]
Averaging = Literal["none", "ema"]
Select = Literal["last", "val_nll"]
MOMENTUM = 0.9  # of sgd


@dataclass(frozen=True)
class Schedule:
    """`epochs` passes, `batch_size` images per step, and the `optimizer` with its `learning_rate`
    and `weight_decay`.

    `clip_norm` limits the norm of the gradient of each step. `warmup` epochs raise the learning
    rate from zero; the decay then begins. `decay` "cosine" lowers it to zero by the last step, so
    the result depends much less on the epoch at which training stops.

    `averaging` "ema" validates and keeps a running mean of the weights with the decay `ema_decay`
    per step. `select` says which epoch's weights to keep: the last, or the one with the lowest
    cross-entropy on validation.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    decay: Decay = "none"
    weight_decay: float = 0.0
    optimizer: OptimizerName = "adam"
    warmup: float = 0.0
    clip_norm: float | None = None
    averaging: Averaging = "none"
    ema_decay: float = 0.99
    select: Select = "last"

    def factor(self, step: int, image_count: int) -> float:
        """Factor of the learning rate at `step` (from 0) of a fit on `image_count` images.

        >>> [round(Schedule(2, 50, 1e-4, "cosine").factor(step, 100), 3) for step in (0, 2, 4)]
        [1.0, 0.5, 0.0]
        >>> warm = Schedule(3, 50, 1e-4, "cosine", warmup=1.5)
        >>> [round(warm.factor(step, 100), 3) for step in range(6)]
        [0.25, 0.5, 0.75, 1.0, 0.75, 0.25]
        """
        steps = math.ceil(image_count / self.batch_size)  # per epoch
        rising = round(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        if self.decay == "none":
            return 1.0
        fallen = min((step - rising) / (self.epochs * steps - rising), 1)
        return (1 + math.cos(math.pi * fallen)) / 2


def build_optimizer(module: nn.Module, schedule: Schedule) -> Optimizer:
    """The optimizer over the trained weights of `module`; `set_rate` gives it a learning rate."""
    groups = _groups(module, schedule)
    rate, decay = schedule.learning_rate, schedule.weight_decay
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, weight_decay=decay, momentum=MOMENTUM)
    kind = torch.optim.AdamW if schedule.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, weight_decay=decay)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _groups(module: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """The trained weights, in groups with the same weight decay.

    AdamW decays matrices and filters alone, as is usual: a decayed norm or bias only shifts what
    the next layer sees.
    """
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if schedule.optimizer != "adamw" or not schedule.weight_decay:
        return [{"params": learned}]
    matrices = [each for each in learned if each.dim() > 1]
    vectors = [each for each in learned if each.dim() <= 1]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
