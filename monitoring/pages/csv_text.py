"""Tables as CSV text: unrounded figures, and an empty cell for what is not known."""

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from calibration.measures.reliability import ReliabilityBin
from model_store.csv_cells import CsvTable

Row = Sequence[Any]
BINS_HEADER: Row = (
    "confidence_from",
    "confidence_to",
    "n",
    "mean_confidence",
    "accuracy",
    "accuracy_lower",
    "accuracy_upper",
)


def csv_text(rows: Iterable[Row]) -> str:
    """The rows as CSV, the header first."""
    text = io.StringIO()
    CsvTable(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def bin_rows(bins: Sequence[ReliabilityBin]) -> list[Row]:
    """The figures of a reliability diagram."""
    return [
        (
            each.lower,
            each.upper,
            each.n,
            each.confidence,
            each.accuracy,
            each.accuracy_lower,
            each.accuracy_upper,
        )
        for each in bins
    ]


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
