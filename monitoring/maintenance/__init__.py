"""Occasional work on a ledger: recounts, pruning, erasure, exports, copies."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # stage, done, total


def silent(_stage: str, _done: int, _total: int) -> None:
    """Show no progress."""
