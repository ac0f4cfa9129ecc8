"""Epochs of Adam over arrays of features or images, from the start or from a snapshot of an
interrupted fit.

All randomness comes from the seed. Two runs with one seed are bitwise equal on one machine; two
losses with one seed start from the same weights and see the same batches and dropout masks. An
interrupted fit resumes from the snapshot of its last whole epoch and ends with bitwise the same
weights as without the interruption.
"""

from collections.abc import Callable

from torch import nn

from training.fitting.examples import Examples
from training.fitting.fit import Fit
from training.fitting.history import Epoch
from training.fitting.schedule import Schedule
from training.fitting.snapshot import SnapshotFile
from training.losses import Objective
from training.processes.execution import Execution, seeded
from training.progress import Progress, silent


def fit(
    module: nn.Module,
    train: Examples,
    val: Examples,
    *,
    objective: Objective,
    schedule: Schedule,
    seed: int,
    head: int = 0,
    execution: Execution | None = None,
    snapshots: SnapshotFile | None = None,
    watch: Callable[[Epoch], None] | None = None,
    stage: str = "epochs",
    progress: Progress = silent,
) -> list[Epoch]:
    """Train `module` in place and return its history, one Epoch per pass; leave it in evaluation
    mode.

    `snapshots` is read first and replaced after each epoch; `watch` is called with each finished
    epoch. `progress` receives the figures of the current epoch. Raises TrainingDiverged as soon as
    a loss is not finite.
    """
    execution = execution or Execution()
    with seeded(seed, execution):
        fitting = Fit(
            module,
            train,
            val,
            objective=objective,
            schedule=schedule,
            seed=seed,
            head=head,
            execution=execution,
        )
        found = snapshots.read() if snapshots else None
        if found:
            fitting.restore(found)
        while not fitting.finished:
            fitting.epoch(
                lambda figures: progress(stage, len(fitting.history), schedule.epochs, **figures)
            )
            if watch:
                watch(fitting.history[-1])
            if snapshots:
                snapshots.write(fitting.snapshot())
    fitting.keep()
    module.eval()
    return fitting.history
