"""What this room refuses. Each text is a sentence that says what to do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from calibration.wording import some

if TYPE_CHECKING:
    import numpy.typing as npt


class PredictionsRefused(ValueError):
    """A table, labels or images that cannot be read, or whose meaning is open; the text says which
    option settles it."""


def rows_listed(rows: "Sequence[int] | npt.NDArray[Any]", most: int = 5) -> str:
    """Row numbers for a sentence.

    >>> rows_listed([3]), rows_listed([3, 7]), rows_listed(range(1, 90))
    ('row 3', 'rows 3, 7', 'rows 1, 2, 3, 4, 5 and 84 more')
    """
    shown = [f"{row:,}" for row in rows]
    return f"row{'' if len(rows) == 1 else 's'} {some(shown, most)}"
