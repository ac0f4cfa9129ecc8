"""How long-running work reports progress: through one callable, without terminal or logging."""

from typing import Protocol


class Progress(Protocol):
    """Called after each unit of work.

    `stage` names the work ("features train", "epochs dca"); `done` of `total` units are
    finished; `figures` are numbers to show beside a progress bar (loss, accuracy, gap).
    """

    def __call__(self, stage: str, done: int, total: int, /, **figures: float) -> None: ...


def silent(_stage: str, _done: int, _total: int, /, **_figures: float) -> None:
    """Ignore progress."""
