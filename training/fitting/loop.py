"""Epochs of Adam over arrays of features or images, from a start or from where a killed process left off.

Everything random comes from the seed: two runs of one seed are bitwise equal on one machine, and two losses trained
from one seed start from the same weights and see the same batches and the same dropout masks. A fit that was killed
goes on from the snapshot of its last whole epoch, and ends at the bits at which it would have ended.
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
    """Train `module` in place and return its history, one Epoch a pass; it is left in evaluation mode.

    `snapshots` is read before and replaced after each epoch; `watch` is told each epoch when it ends. The figures of
    `progress` are those of the epoch that runs. Raises TrainingDiverged as soon as a loss is not finite.
    """
    execution = execution or Execution()
    with seeded(seed, execution):
        fitting = Fit(
            module, train, val, objective=objective, schedule=schedule, seed=seed, head=head, execution=execution
        )
        found = snapshots.read() if snapshots else None
        if found:
            fitting.restore(found)
        while not fitting.finished:
            fitting.epoch(lambda figures: progress(stage, len(fitting.history), schedule.epochs, **figures))
            if watch:
                watch(fitting.history[-1])
            if snapshots:
                snapshots.write(fitting.snapshot())
    fitting.keep()
    module.eval()
    return fitting.history
