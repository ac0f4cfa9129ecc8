"""How long work tells its caller where it is: one callable, no terminal and no logging in this room."""

from typing import Protocol


class Progress(Protocol):
    """Called after each unit of work.

    `stage` names the work ("download", "features train", "epochs dca"); `done` of `total` units are finished;
    `figures` are the numbers worth showing beside a bar (loss, accuracy, gap).
    """

    def __call__(self, stage: str, done: int, total: int, /, **figures: float) -> None: ...


def silent(_stage: str, _done: int, _total: int, /, **_figures: float) -> None:
    """The progress of a caller who does not watch."""
