"""Errors of training. Each message says what was got, what was expected, and what to do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calibration.wording import counted, parameter


class TrainingError(Exception):
    """Base of all errors that training raises on purpose."""


class UnknownName(TrainingError, ValueError):
    """The name of a backbone, loss or layout that does not exist."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown {kind} {name!r}; choose one of: {', '.join(known)}")


class BadLoss(TrainingError, ValueError):
    """Losses that cannot be combined, or an option that is unknown or out of range."""


class BadGroup(TrainingError, RuntimeError):
    """The environment variables of torchrun are incomplete."""


class BadChoice(TrainingError, ValueError):
    """A choice of an experiment that cannot be parsed or that TrainConfig refuses."""


class WeightsNotFound(TrainingError, FileNotFoundError):
    """Pretrained weights are neither in a file nor available from the hub."""


class BadWeights(TrainingError, ValueError):
    """A weights file whose tensors do not fit the backbone."""


class LostProcess(TrainingError, RuntimeError):
    """A process that computed cells or shared a run has ended, and the others need it."""


class BadBackbone(TrainingError, ValueError):
    """A network that cannot be a backbone, or not for images of this size."""


class TrainingDiverged(TrainingError, ArithmeticError):
    """The loss is no longer a finite number."""

    def __init__(self, *, epoch: int, loss: float, learning_rate: float) -> None:
        super().__init__(
            f"the training loss became {loss} in epoch {epoch} at learning rate {learning_rate:g}; "
            "lower the learning rate (try a tenth), lower beta, or look for broken images in the "
            "data"
        )


class RunExists(TrainingError, FileExistsError):
    """The run folder already exists; a run never overwrites another."""


class RunBusy(TrainingError, FileExistsError):
    """Another process is training into the same run folder."""


class RunDiffers(TrainingError, ValueError):
    """The interrupted run had other choices, so it cannot be resumed with these."""

    def __init__(self, out: Path, differences: Mapping[str, tuple[Any, Any]]) -> None:
        said = "; ".join(
            f"{name} {before!r} then, {now!r} now" for name, (before, now) in differences.items()
        )
        super().__init__(
            f"{out} was started with other choices and interrupted ({said}); repeat those to "
            f"resume it, or give {parameter('restart', True)} to start over"
        )


class OutOfMemory(TrainingError, MemoryError):
    """A training step needs more memory than there is."""

    def __init__(self, *, batch_size: int, micro_batch: int | None) -> None:
        held = micro_batch or batch_size
        super().__init__(
            f"out of memory with {counted(held, 'image')} at a time: give "
            f"{parameter('micro_batch', max(held // 2, 1))} (the loss stays that of a batch of "
            f"{batch_size}; batch norm sees fewer), or a smaller {parameter('batch_size')} or "
            f"{parameter('image_size')}"
        )


class DeviceNotFound(TrainingError, ValueError):
    """The requested device does not exist."""


class BadRun(TrainingError, ValueError):
    """A folder that is not a finished run."""


class UselessModel(TrainingError, ValueError):
    """A model that is no better than a constant answer, in accuracy, NLL or mean recall."""

    def __init__(self, run: Path, shortcomings: Sequence[str]) -> None:
        super().__init__(
            f"{run} is not exported: {'; '.join(shortcomings)}. Add images of the rare classes or "
            f"merge them, train longer or with {parameter('class_weights', 'balanced')}, whose "
            "price `candor train` prints, or export it all the same with "
            f"{parameter('anyway', True)}"
        )


class ExportMismatch(TrainingError, ArithmeticError):
    """ONNX Runtime and torch give different probabilities."""

    def __init__(self, *, difference: float, limit: float, images: int) -> None:
        super().__init__(
            f"probabilities of ONNX Runtime and torch differ by {difference:.2e} on {images} "
            f"images, more than {limit:.0e}; nothing was published"
        )
