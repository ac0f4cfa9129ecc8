"""Cells of tables as texts and numbers. Decimal commas and percent signs are read."""

import re
from collections.abc import Sequence
from typing import Any, Final
from unicodedata import normalize

import numpy as np

from calibration.bins import FloatArray
from calibration.findings.labels import is_missing, read_cell
from candor.predictions.errors import PredictionsRefused

# missing where a number is expected; a class may be called "none"
_NO_NUMBER: Final = {"none", "-", "?", "."}
_DECIMAL_COMMA: Final = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")


def as_text(value: Any) -> str:
    """A cell as text, empty if it is missing. A whole number is written without decimals.

    >>> [as_text(cell) for cell in (" lung ", 1.0, "2.0", "n/a", True, 1234567.0)]
    ['lung', '1', '2', '', 'True', '1234567']
    """
    if value is None:
        return ""
    if isinstance(value, bytes):  # as NumPy and HDF5 keep texts
        value = value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = composed(str(value).strip())
    if is_missing(text):
        return ""
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdecimal() else text


def composed(text: str) -> str:
    """The text with accents as one letter each; a Mac takes them apart."""
    return text if text.isascii() else normalize("NFC", text)


def numbers(cells: Sequence[Any], column: str, first: int = 1) -> FloatArray:
    """Return cells as numbers, NaN for missing ones; `first` is the number of the first row.

    Raises PredictionsRefused for text.
    """
    try:
        read = np.array(["nan" if cell is None else cell for cell in cells], dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        read = np.empty((0, 0))
    if read.ndim == 1:  # else some are text, or lists
        return read
    found = [_number(cell, column, row) for row, cell in enumerate(cells, first)]
    return np.array(found, dtype=np.float64)


def marks(cells: Sequence[Any], column: str) -> FloatArray:
    """Return labels as 1, 0, -1 (uncertain), or NaN for unknown. Raises PredictionsRefused."""
    read = [read_cell(as_text(cell)) for cell in cells]
    if None in read:
        place = read.index(None)
        raise PredictionsRefused(
            f"row {place + 1:,}, column {column!r}: {str(cells[place])[:40]!r} is no label; "
            "expected 1, 0, -1 (uncertain) or blank (unknown)"
        )
    return np.array(read, dtype=np.float64)


def _number(cell: Any, column: str, row: int) -> float:
    text = as_text(cell)
    if not text or text.casefold() in _NO_NUMBER:
        return float("nan")
    plain = text.removesuffix("%").strip()
    if _DECIMAL_COMMA.fullmatch(plain):
        plain = plain.replace(",", ".")
    try:
        return float(plain) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise PredictionsRefused(
            f"row {row:,}, column {column!r}: {text[:40]!r} is no number; correct it, or delete "
            "the row if it is no prediction"
        ) from None
