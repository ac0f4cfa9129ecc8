"""What can go wrong between a folder of images and a published bundle. Each error says got, expected, what to do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TrainingError(Exception):
    """Base of every error that this room raises on purpose."""


class UnknownName(TrainingError, ValueError):
    """A backbone or loss that is not in its registry."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown {kind} {name!r}; choose one of: {', '.join(known)}")
        self.kind = kind
        self.name = name
        self.known = known


class BadLoss(TrainingError, ValueError):
    """Losses that do not go together, or an option that is not theirs or out of its range."""


class BadGroup(TrainingError, RuntimeError):
    """The environment names processes that training cannot join."""


class BadChoice(TrainingError, ValueError):
    """A choice of an experiment that cannot be understood, or that no training run can have."""


class WeightsNotFound(TrainingError, FileNotFoundError):
    """Pretrained weights are neither in a file nor reachable on the hub."""


class BadWeights(TrainingError, ValueError):
    """A weights file whose tensors do not fit the backbone."""


class LostProcess(TrainingError, RuntimeError):
    """A process that computed cells, or shared a run, was ended, and the others cannot go on without it."""


class BadBackbone(TrainingError, ValueError):
    """A network that cannot serve as a backbone, or not for images of this size."""


class TrainingDiverged(TrainingError, ArithmeticError):
    """The loss is no longer a finite number."""

    def __init__(self, *, epoch: int, loss: float, learning_rate: float) -> None:
        super().__init__(
            f"the training loss became {loss} in epoch {epoch} at learning rate {learning_rate:g}; "
            "lower the learning rate (try a tenth), lower beta, or look for broken images in the data"
        )
        self.epoch = epoch


class RunExists(TrainingError, FileExistsError):
    """The run folder is already there; a run never overwrites another."""


class RunBusy(TrainingError, FileExistsError):
    """Another process is training into the same run folder."""


class RunDiffers(TrainingError, ValueError):
    """The run was begun with other choices, so it cannot be continued with these."""

    def __init__(self, out: Path, differences: Mapping[str, tuple[Any, Any]]) -> None:
        said = "; ".join(f"{name} {before!r} then, {now!r} now" for name, (before, now) in differences.items())
        super().__init__(
            f"{out} was begun with other choices and interrupted ({said}); "
            "repeat those to continue it, or give --restart to begin anew"
        )
        self.differences = differences


class OutOfMemory(TrainingError, MemoryError):
    """A step needs more memory than there is."""

    def __init__(self, *, batch_size: int, micro_batch: int | None) -> None:
        held = micro_batch or batch_size
        super().__init__(
            f"out of memory with {held} images at a time: give --micro-batch {max(held // 2, 1)} (the batch and its "
            f"loss stay those of {batch_size}, but batch norm sees less), or a smaller --batch-size or --image-size"
        )


class DeviceNotFound(TrainingError, ValueError):
    """The device that was asked for is not there."""


class ProcessFailed(TrainingError, RuntimeError):
    """One of several processes ended with an error, which ended the others."""

    def __init__(self, *, rank: int, exit_code: int) -> None:
        ended = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        super().__init__(
            f"process {rank} ended with {ended}, so all were stopped; its error stands above. "
            "Repeat the command to continue after the last whole epoch"
        )
        self.rank = rank


class TensorBoardMissing(TrainingError, ImportError):
    """TensorBoard logs were asked for, and its package is not installed."""


class BadRun(TrainingError, ValueError):
    """A folder that is not a finished run."""


class ExportMismatch(TrainingError, ArithmeticError):
    """ONNX Runtime does not give the probabilities that torch gives."""

    def __init__(self, *, difference: float, limit: float, images: int) -> None:
        super().__init__(
            f"probabilities of ONNX Runtime and torch differ by {difference:.2e} on {images} images, "
            f"more than {limit:.0e}; nothing was published"
        )
        self.difference = difference
