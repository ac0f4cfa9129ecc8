"""Counts, percentages and lists in sentences."""

import math
from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "label"), counted(1234, "label"), counted(2, "probability"), counted(2, "class")
    ('1 label', '1,234 labels', '2 probabilities', '2 classes')
    """
    if number == 1:
        return f"1 {noun}"
    plural = (
        f"{noun[:-1]}ies"
        if noun.endswith("ty")
        else f"{noun}es"
        if noun.endswith("s")
        else f"{noun}s"
    )
    return f"{number:,} {plural}"


def some(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are.

    >>> some(["a", "b"], 2), some(["a", "b", "c"], 2)
    ('a, b', 'a, b and 1 more')
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def percent(ratio: float | None) -> str:
    """A ratio with one decimal; a dash for None and NaN.

    >>> percent(0.1234), percent(-1e-9), percent(None)
    ('12.3 %', '0.0 %', '-')
    """
    if ratio is None or not math.isfinite(ratio):
        return "-"
    return f"{round(100 * ratio, 1) + 0.0:.1f} %"  # no minus before zero
