"""The schedule of a fit: length, learning rate, averaging, and the epoch to keep."""

import math
from dataclasses import dataclass
from typing import Literal

OptimizerName = Literal["adam", "adamw", "sgd"]
Sampler = Literal["shuffled", "balanced"]
Decay = Literal["none", "cosine", "exponential"]
Averaging = Literal["none", "ema", "swa"]
Select = Literal["last", "val_nll", "val_ece"]

SWA_START = (
    0.75  # of the epochs; the weights after each later epoch are averaged (Izmailov et al. 2018)
)


@dataclass(frozen=True)
class Schedule:
    """`epochs` passes, `batch_size` images per step, and the `optimizer` with its `learning_rate`
    and `weight_decay`.

    `momentum` is that of "sgd". `layer_decay` multiplies the rate once for each layer below the
    head (optimizer.py). `clip_norm` limits the norm of the gradient of each step. `sampler`
    "balanced" draws as many images as there are, each class equally often, with replacement.

    `warmup` epochs raise the learning rate from zero; the decay then begins.

    `decay` "cosine" lowers the learning rate to zero by the last step, so the result depends much
    less on the epoch at which training stops; "exponential" multiplies it by `decay_rate` after
    each epoch. Early stopping does not change the length of the cosine schedule.

    `averaging` "ema" validates and keeps a running mean of the weights with the decay `ema_decay`
    per step; "swa" the plain mean of the weights after each epoch of the last quarter.

    `select` says which epoch's weights to keep: the last, or the one with the lowest `val_nll` or
    `val_ece`, the latter among accurate epochs (early_stopping.py). `patience` stops after that
    many epochs without improvement. Both use validation alone.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    decay: Decay = "none"
    decay_rate: float = 0.985
    weight_decay: float = 0.0
    optimizer: OptimizerName = "adam"
    momentum: float = 0.9
    warmup: float = 0.0
    layer_decay: float = 1.0
    clip_norm: float | None = None
    sampler: Sampler = "shuffled"
    averaging: Averaging = "none"
    ema_decay: float = 0.99
    select: Select = "last"
    patience: int | None = None

    def steps(self, image_count: int) -> int:
        """Steps of a fit on `image_count` images."""
        return self.epochs * math.ceil(image_count / self.batch_size)

    def factor(self, step: int, image_count: int) -> float:
        """Factor of the learning rate at `step` (from 0).

        >>> [round(Schedule(2, 50, 1e-4, "cosine").factor(step, 100), 3) for step in (0, 2, 4)]
        [1.0, 0.5, 0.0]
        >>> [Schedule(3, 50, 1e-4, "exponential", 0.5).factor(step, 100) for step in (0, 1, 2, 4)]
        [1.0, 1.0, 0.5, 0.25]
        >>> warm = Schedule(3, 50, 1e-4, "cosine", warmup=1.5)
        >>> [round(warm.factor(step, 100), 3) for step in range(6)]
        [0.25, 0.5, 0.75, 1.0, 0.75, 0.25]
        """
        steps = self.steps(image_count) // self.epochs  # per epoch
        rising = round(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        if self.decay == "cosine":
            return (
                1 + math.cos(math.pi * min((step - rising) / (self.epochs * steps - rising), 1))
            ) / 2
        return self.decay_rate ** (step // steps) if self.decay == "exponential" else 1.0
