"""What can be wrong with a data set. Each error says what was found, what was expected, and what to do."""

from collections.abc import Sequence
from pathlib import Path

from training.datasets.records import Excluded, Overlap
from training.errors import TrainingError


class DataNotFound(TrainingError, FileNotFoundError):
    """No data set where one was asked for, or the download did not succeed."""


class BadDataset(TrainingError, ValueError):
    """Files are there, but they are not a data set that can be trained on."""

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class CorruptDataset(BadDataset):
    """More image files are missing or damaged than is allowed."""

    def __init__(self, path: Path | str, corrupt: Sequence[Excluded], *, total: int, limit: float) -> None:
        examples = "; ".join(f"{each.path}: {each.reason}" for each in corrupt[:3])
        super().__init__(
            path,
            f"{len(corrupt)} of {total} images cannot be used, more than the limit of {limit:.2%} ({examples}); "
            "repair or remove them, or raise the limit (--max-corrupt)",
        )
        self.corrupt = tuple(corrupt)


class LeakingSplits(BadDataset):
    """The same image or the same patient stands in two splits."""

    def __init__(self, path: Path | str, overlaps: Sequence[Overlap]) -> None:
        super().__init__(
            path,
            "; ".join(str(each) for each in overlaps) + "; figures would be too good. Remove them from one split, "
            "leave the splits to be drawn, or accept it (--allow-leakage)",
        )
        self.overlaps = tuple(overlaps)
