"""What a fit does, in numbers: how long, how fast, what is averaged, which epoch is kept."""

import math
from dataclasses import dataclass
from typing import Literal

Decay = Literal["none", "cosine", "exponential"]
Averaging = Literal["none", "ema", "swa"]
Select = Literal["last", "val_nll", "val_ece"]

SWA_START = 0.75  # of the epochs; the weights after each later epoch are averaged (Izmailov et al. 2018)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: `epochs` passes, `batch_size` images a step, Adam's `learning_rate` and `weight_decay`.

    `decay` "cosine" takes the rate down to zero by the last step, which makes the outcome depend far less on the epoch
    at which training happens to stop; "exponential" multiplies it by `decay_rate` after each epoch.

    `averaging` "ema" validates and keeps a running mean of the weights, which forgets by `ema_decay` a step; "swa" the
    plain mean of the weights after each epoch of the last quarter.

    `select` says which epoch's weights are kept: the last, or that of the lowest `val_nll` or `val_ece`, the latter
    among the accurate (early_stopping.py). `patience` stops after so many epochs without a better one. Both
    look at validation alone.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    decay: Decay = "none"
    decay_rate: float = 0.985
    weight_decay: float = 0.0
    averaging: Averaging = "none"
    ema_decay: float = 0.99
    select: Select = "last"
    patience: int | None = None

    def factor(self, step: int, image_count: int) -> float:
        """What the learning rate is multiplied by at `step` (from 0).

        >>> [round(Schedule(2, 50, 1e-4, "cosine").factor(step, 100), 3) for step in (0, 2, 4)]
        [1.0, 0.5, 0.0]
        >>> [Schedule(3, 50, 1e-4, "exponential", 0.5).factor(step, 100) for step in (0, 1, 2, 4)]
        [1.0, 1.0, 0.5, 0.25]
        """
        steps = math.ceil(image_count / self.batch_size)  # an epoch
        if self.decay == "cosine":
            return (1 + math.cos(math.pi * min(step / (self.epochs * steps), 1))) / 2
        return self.decay_rate ** (step // steps) if self.decay == "exponential" else 1.0
