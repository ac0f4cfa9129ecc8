"""Epochs over arrays of features or images, from the start or from a snapshot of an interrupted
fit.

All randomness comes from the seed. Two runs with one seed are bitwise equal on one machine; two
losses with one seed start from the same weights and see the same batches and dropout masks (but
for mixup, which draws too). An interrupted fit resumes from the snapshot of its last whole epoch
and ends with bitwise the same weights as without the interruption.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from calibration.bins import BinSums
from calibration.measures.metrics import ece
from training.errors import TrainingDiverged
from training.fitting.examples import Examples, ahead, batches, predict
from training.fitting.history import Epoch, EpochTotals, best
from training.fitting.schedule import GRADIENT_NORM, Schedule, build_optimizer, set_rate
from training.fitting.snapshot import Snapshot, SnapshotFile
from training.fitting.step import Step
from training.losses import Objective
from training.losses.claims import claims, log_loss
from training.processes.execution import Execution, random_state, seeded, set_random_state
from training.progress import Progress, silent

REPORT_INTERVAL_S = 0.5  # between two reports within an epoch
Report = Callable[[Mapping[str, float]], None]
Watch = Callable[[Epoch, nn.Module], None]


@dataclass
class Fit:
    """The state of one fit; `best` are the weights of the best epoch, unless the last is kept."""

    module: nn.Module
    train: Examples
    val: Examples
    objective: Objective
    schedule: Schedule
    seed: int
    execution: Execution
    best: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    history: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.module.to(self.execution.device)
        self.order = np.random.default_rng(self.seed)
        self.optimizer = build_optimizer(self.module, self.schedule)
        self.step = Step(
            self.module,
            self.objective,
            optimizer=self.optimizer,
            group=self.execution.group,
            micro_batch=self.execution.micro_batch,
            amp=self.execution.amp,
            clip_norm=GRADIENT_NORM if self.schedule.gentle else None,
        )

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.history) >= self.schedule.epochs

    def epoch(self, report: Report) -> None:
        """One pass over the training data and one over validation. Raises TrainingDiverged."""
        number = len(self.history) + 1
        self.module.train()
        totals = self._pass(number, report)
        trained = totals.over(self.execution.group).means
        validated = self._validate()
        figures: dict[str, Any] = {f"train_{name}": each for name, each in trained.items()}
        figures |= {f"val_{name}": each for name, each in validated.items()}
        self.history.append(Epoch(number, **figures))
        select = self.schedule.select
        if select != "last" and best(self.history, select) == len(self.history) - 1:
            self.best = {
                name: tensor.detach().cpu().clone()
                for name, tensor in self.module.state_dict().items()
            }
        report(trained)

    def _pass(self, number: int, report: Report) -> EpochTotals:
        totals, reported = EpochTotals(), time.monotonic()
        for inputs, labels in self._batches(number):
            factor = self.schedule.factor(self.steps, len(self.train))
            set_rate(self.optimizer, self.schedule.learning_rate * factor)
            result = self.step(inputs, labels)
            if not math.isfinite(result.loss):
                raise TrainingDiverged(
                    epoch=number, loss=result.loss, learning_rate=self.schedule.learning_rate
                )
            if result.logits is not None:  # the shard of this process may be empty
                totals.add(result.logits, result.labels, result.loss)
            self.steps += 1
            if time.monotonic() - reported > REPORT_INTERVAL_S:
                reported = time.monotonic()
                report(totals.means)
        return totals

    def _batches(self, number: int) -> Iterable[tuple[Tensor, Tensor]]:
        """This process's shards of the batches; their order is drawn before any is read."""
        group = self.execution.group
        indices = self.order.permutation(len(self.train))
        wholes = batches(indices, size=self.schedule.batch_size, processes=group.size)
        shards = [group.shard(whole) for whole in wholes]
        read = partial(self.train.batch, epoch=(self.seed, number))
        return ahead(read, shards) if self.train.streamed else map(read, shards)

    def _validate(self) -> dict[str, float]:
        logits = predict(
            self.module, self.val.inputs, execution=self.execution, at_once=self.val.at_once
        )
        known, labels = torch.from_numpy(logits), torch.from_numpy(self.val.labels)
        totals = EpochTotals()
        totals.add(known, labels, log_loss(known, labels))
        found = claims(known.double(), labels)
        sums = BinSums.from_predictions(found.confidence.numpy(), found.true.numpy())
        return totals.means | {"ece": ece(sums)}

    def keep(self) -> None:
        """Load the chosen weights into the module and mark their epoch."""
        if self.best:
            self.module.load_state_dict(self.best)
        kept = best(self.history, self.schedule.select)
        self.history[kept] = replace(self.history[kept], kept=True)

    def snapshot(self) -> Snapshot:
        """Everything that later epochs depend on."""
        tensors = {f"module.{name}": each for name, each in self.module.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": each for name, each in state.items()}
        tensors |= {f"selection.{name}": each for name, each in self.best.items()}
        states = self.execution.group.gather(random_state(self.execution.device))
        tensors |= {f"random.{rank}": state for rank, state in enumerate(states)}
        data = {
            "steps": self.steps,
            "scaler": self.step.scaler.state_dict(),
            "order": self.order.bit_generator.state,
            "history": [asdict(epoch) for epoch in self.history],
        }
        return Snapshot(tensors, data)

    def restore(self, snapshot: Snapshot) -> None:
        self.module.load_state_dict(snapshot.part("module"))
        known = self.optimizer.state_dict()
        known["state"] = _nested(snapshot.part("optimizer"))
        self.optimizer.load_state_dict(known)
        self.best = snapshot.part("selection")
        self.step.scaler.load_state_dict(snapshot.data["scaler"])
        own = snapshot.part("random")[str(self.execution.group.rank)]
        set_random_state(own, self.execution.device)
        self.steps = snapshot.data["steps"]
        self.order.bit_generator.state = snapshot.data["order"]
        self.history = [Epoch(**line) for line in snapshot.data["history"]]


def _nested(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Tensors with keys such as "0.step", by index and name."""
    nested: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        nested.setdefault(int(index), {})[name] = tensor
    return nested


def fit(
    module: nn.Module,
    train: Examples,
    val: Examples,
    *,
    objective: Objective,
    schedule: Schedule,
    seed: int,
    execution: Execution | None = None,
    snapshots: SnapshotFile | None = None,
    watch: Watch | None = None,
    stage: str = "epochs",
    progress: Progress = silent,
) -> list[Epoch]:
    """Train `module` in place and return its history, one Epoch per pass; leave it in evaluation
    mode.

    `snapshots` is read first and replaced after each epoch; `watch` is called with each finished
    epoch and the module. `progress` receives the figures of the current epoch. Raises
    TrainingDiverged as soon as a loss is not finite.
    """
    execution = execution or Execution()
    with seeded(seed, execution):
        fitting = Fit(module, train, val, objective, schedule, seed, execution)
        found = snapshots.read() if snapshots else None
        if found:
            fitting.restore(found)
            progress(stage, len(fitting.history), schedule.epochs)
        while not fitting.finished:
            fitting.epoch(
                lambda figures: progress(stage, len(fitting.history), schedule.epochs, **figures)
            )
            if watch:
                watch(fitting.history[-1], module)
            if snapshots:
                snapshots.write(fitting.snapshot())
    fitting.keep()
    module.eval()
    return fitting.history
