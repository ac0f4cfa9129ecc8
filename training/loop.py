"""Epochs of Adam over arrays of features or images, with the gap between confidence and accuracy in view.

Everything random comes from the seed: two runs of one seed are bitwise equal on one machine, and two losses trained
from one seed start from the same weights and see the same batches and the same dropout masks.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.errors import TrainingDiverged
from training.losses import Objective
from training.progress import Progress, silent

EVALUATION_BATCH = 256
Decay = Literal["none", "cosine"]


@dataclass(frozen=True)
class Examples:
    """What the trained module eats, (N, ...), float32 features or uint8 images, and labels int64 (N,)."""

    inputs: NDArray[np.float32] | NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Inputs (n, ...) and labels (n,) of the images at `indices`."""
        return torch.from_numpy(self.inputs[indices]), torch.from_numpy(self.labels[indices])


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: `epochs` passes, `batch_size` images a step, Adam's `learning_rate`.

    `decay` "cosine" takes the rate down to zero by the last step, which makes the outcome depend far less on the epoch
    at which training happens to stop.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    decay: Decay = "none"

    def factor(self, step: int, image_count: int) -> float:
        """What the learning rate is multiplied by at `step` (from 0).

        >>> [round(Schedule(2, 50, 1e-4, "cosine").factor(step, 100), 3) for step in (0, 2, 4)]
        [1.0, 0.5, 0.0]
        """
        total = self.epochs * math.ceil(image_count / self.batch_size)
        return (1 + math.cos(math.pi * min(step / total, 1))) / 2 if self.decay == "cosine" else 1.0


@dataclass(frozen=True)
class Epoch:
    """One line of history. A gap is mean confidence minus accuracy, positive when overconfident.

    The train figures are of the training pass itself, dropout on; the val figures of evaluation mode. `val_loss` is the
    plain cross-entropy, so that runs with different losses can be compared.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    train_gap: float
    val_loss: float
    val_accuracy: float
    val_gap: float


class Tally:
    """Running means over batches of loss, accuracy and gap."""

    def __init__(self) -> None:
        self.images = 0
        self.loss = self.correct = self.confidence = 0.0

    def add(self, logits: Tensor, labels: Tensor, loss: float) -> None:
        confidence, predicted = logits.detach().float().softmax(dim=1).max(dim=1)
        self.images += len(labels)
        self.loss += loss * len(labels)
        self.correct += float((predicted == labels).sum())
        self.confidence += float(confidence.double().sum())

    @property
    def means(self) -> dict[str, float]:
        """Keys loss, accuracy, gap."""
        accuracy = self.correct / self.images
        return {
            "loss": self.loss / self.images,
            "accuracy": accuracy,
            "gap": self.confidence / self.images - accuracy,
        }


def fit(
    module: nn.Module,
    train: Examples,
    val: Examples,
    *,
    objective: Objective,
    schedule: Schedule,
    seed: int,
    stage: str = "epochs",
    progress: Progress = silent,
) -> list[Epoch]:
    """Train `module` in place and return its history, one Epoch a pass; it is left in evaluation mode.

    Raises TrainingDiverged as soon as a loss is not finite.
    """
    order = np.random.default_rng(seed)
    learnt = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learnt, lr=schedule.learning_rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.factor(step, len(train)))
    history: list[Epoch] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(1, schedule.epochs + 1):
            module.train()
            batches = _batches(order, len(train), schedule.batch_size)
            trained = _pass(module, train, batches, objective=objective, scheduler=scheduler)
            if not math.isfinite(trained["loss"]):
                raise TrainingDiverged(epoch=epoch, loss=trained["loss"], learning_rate=schedule.learning_rate)
            history.append(_epoch(epoch, trained, _validate(module, val)))
            progress(stage, epoch, schedule.epochs, **trained)
    module.eval()
    return history


def predict(module: nn.Module, inputs: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits float32 (N, K) of `inputs` (N, ...), in evaluation mode."""
    module.eval()
    with torch.inference_mode():
        parts = [
            module(torch.from_numpy(np.array(inputs[start : start + EVALUATION_BATCH]))).float().numpy()
            for start in range(0, len(inputs), EVALUATION_BATCH)
        ]
    return np.concatenate(parts)


def write_history(path: Path, history: Sequence[Epoch]) -> None:
    """history.csv: a column for each field of Epoch, a line for each epoch, floats so that they read back exactly."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(Epoch)])
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in history)


def _batches(order: np.random.Generator, count: int, size: int) -> Iterator[NDArray[np.int64]]:
    """Shuffled indices in batches; a last batch of one image is left out, as batch norm cannot train on it."""
    indices = order.permutation(count)
    for start in range(0, count, size):
        batch = indices[start : start + size]
        if len(batch) > 1:
            yield batch


def _pass(
    module: nn.Module,
    train: Examples,
    batches: Iterator[NDArray[np.int64]],
    *,
    objective: Objective,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> dict[str, float]:
    tally = Tally()
    for indices in batches:
        inputs, labels = train.batch(indices)
        logits = module(inputs)
        loss = objective(logits, labels)
        value = loss.item()
        tally.add(logits, labels, value)
        if not math.isfinite(value):
            break
        scheduler.optimizer.zero_grad()
        loss.backward()
        scheduler.optimizer.step()
        scheduler.step()
    return tally.means


def _validate(module: nn.Module, val: Examples) -> dict[str, float]:
    logits, labels = torch.from_numpy(predict(module, val.inputs)), torch.from_numpy(val.labels)
    tally = Tally()
    tally.add(logits, labels, nn.functional.cross_entropy(logits, labels).item())
    return tally.means


def _epoch(number: int, train: dict[str, float], val: dict[str, float]) -> Epoch:
    return Epoch(
        epoch=number,
        train_loss=train["loss"],
        train_accuracy=train["accuracy"],
        train_gap=train["gap"],
        val_loss=val["loss"],
        val_accuracy=val["accuracy"],
        val_gap=val["gap"],
    )
