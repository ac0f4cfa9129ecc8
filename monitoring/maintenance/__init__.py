"""What is done to a ledger now and then: recounted, pruned, erased from, exported, copied."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # stage, done, total


def silent(_stage: str, _done: int, _total: int) -> None:
    """No progress is shown."""
