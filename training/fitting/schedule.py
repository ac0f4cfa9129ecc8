"""The schedule of a fit: length, learning rate, epoch to keep, and its optimizer."""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import nn
from torch.optim import Optimizer

Decay = Literal["none", "cosine"]
Select = Literal["last", "val_nll"]
# Of gentle fits, which change weights that were trained before.
WEIGHT_DECAY: Final = 0.05
GRADIENT_NORM: Final = 1.0


@dataclass(frozen=True)
class Schedule:
    """`epochs` passes, `batch_size` images per step, and the `learning_rate` of Adam.

    A `gentle` fit raises the rate from zero in its first epoch, limits the norm of each step's
    gradient to GRADIENT_NORM, and decays weights by AdamW. The `decay` "cosine" then lowers the
    rate to zero by the last step, so the result depends much less on the epoch at which training
    stops. `select` says which epoch's weights to keep: the last, or the one with the lowest
    cross-entropy on validation.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    decay: Decay = "none"
    gentle: bool = False
    select: Select = "last"

    def factor(self, step: int, image_count: int) -> float:
        """Factor of the learning rate at `step` (from 0) of a fit on `image_count` images.

        >>> [round(Schedule(2, 50, 1e-4, "cosine").factor(step, 100), 3) for step in (0, 2, 4)]
        [1.0, 0.5, 0.0]
        >>> warm = Schedule(3, 50, 1e-4, "cosine", gentle=True)
        >>> [round(warm.factor(step, 100), 3) for step in range(6)]
        [0.333, 0.667, 1.0, 0.854, 0.5, 0.146]
        """
        steps = math.ceil(image_count / self.batch_size)  # per epoch
        rising = steps if self.gentle else 0
        if step < rising:
            return (step + 1) / (rising + 1)
        if self.decay == "none":
            return 1.0
        fallen = min((step - rising) / (self.epochs * steps - rising), 1)
        return (1 + math.cos(math.pi * fallen)) / 2


def build_optimizer(module: nn.Module, schedule: Schedule) -> Optimizer:
    """The optimizer over the trained weights of `module`; `set_rate` gives it a learning rate.

    A gentle one decays matrices and filters alone, as is usual: a decayed norm or bias only shifts
    what the next layer sees.
    """
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not schedule.gentle:
        return torch.optim.Adam(learned, lr=schedule.learning_rate)
    groups: list[dict[str, Any]] = [
        {"params": [each for each in learned if each.dim() > 1]},
        {"params": [each for each in learned if each.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, weight_decay=WEIGHT_DECAY)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
