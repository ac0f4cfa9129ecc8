"""What this room refuses."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt


class PredictionsRefused(ValueError):
    """Predictions that cannot be read, or whose meaning is not clear. The text says what to do."""


def rows_listed(rows: Sequence[int] | npt.NDArray[Any], most: int = 5) -> str:
    """Row numbers for a sentence.

    >>> rows_listed([3]), rows_listed([3, 7]), rows_listed(range(1, 90))
    ('row 3', 'rows 3, 7', 'rows 1, 2, 3, 4, 5 and 84 more')
    """
    shown = ", ".join(f"{row:,}" for row in rows[:most])
    more = f" and {len(rows) - most:,} more" if len(rows) > most else ""
    return f"row{'' if len(rows) == 1 else 's'} {shown}{more}"
