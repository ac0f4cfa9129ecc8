"""Errors of data sets. Each message says what was found, what was expected, and what to do."""

from collections.abc import Sequence
from pathlib import Path

from calibration.wording import parameter
from training.datasets.table import Excluded
from training.errors import TrainingError


class DataNotFound(TrainingError, FileNotFoundError):
    """There is no data set at the given place."""


class BadDataset(TrainingError, ValueError):
    """The files exist, but training cannot use them as a data set."""

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


class CorruptDataset(BadDataset):
    """Too many image files are missing or damaged."""

    def __init__(
        self, path: Path | str, corrupt: Sequence[Excluded], *, total: int, limit: float
    ) -> None:
        examples = "; ".join(f"{each.path}: {each.reason}" for each in corrupt[:3])
        super().__init__(
            path,
            f"{len(corrupt)} of {total} images cannot be used, more than the limit of {limit:.2%} "
            f"({examples}); repair or remove them, or raise the limit "
            f"({parameter('max_corrupt')})",
        )


class UnclearGroups(BadDataset):
    """Images seem to share a patient or slide, and nobody said whether they do."""


class LeakingSplits(BadDataset):
    """Two splits share an image or a patient."""

    def __init__(self, path: Path | str, overlaps: Sequence[str]) -> None:
        super().__init__(
            path,
            "; ".join(overlaps) + "; figures would be too good. Remove them from one split, "
            "let Candor draw the splits, or accept the leakage "
            f"({parameter('allow_leakage', True)})",
        )
