"""Counts, percentages, points and lists in sentences."""

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


def percent(ratio: float | None, digits: int = 1) -> str:
    """A ratio in percent; a dash for None and NaN.

    >>> percent(0.1234), percent(-1e-9), percent(0.98764, 2), percent(None)
    ('12.3 %', '0.0 %', '98.76 %', '-')
    """
    if ratio is None or not math.isfinite(ratio):
        return "-"
    return f"{round(100 * ratio, digits) + 0.0:.{digits}f} %"  # no minus before zero


def percents(lower: float | None, upper: float | None, digits: int = 1) -> str:
    """A range of ratios in percent; a dash if neither end is known.

    >>> percents(0.031, 0.0592), percents(0.8, 0.8666, 0), percents(None, None)
    ('3.1 to 5.9 %', '80 to 87 %', '-')
    """
    first, last = percent(lower, digits), percent(upper, digits)
    return "-" if first == last == "-" else f"{first.removesuffix(' %')} to {last}"


def points(ratio: float) -> str:
    """A difference of two ratios in percentage points.

    >>> points(0.044), points(-1e-9)
    ('4.4 points', '0.0 points')
    """
    return f"{round(100 * ratio, 1) + 0.0:.1f} points"


def signed_points(ratio: float | None) -> str:
    """A difference of two ratios in points, with its sign; a dash for None and NaN.

    >>> signed_points(0.044), signed_points(None)
    ('+4.4', '-')
    """
    if ratio is None or not math.isfinite(ratio):
        return "-"
    return f"{round(100 * ratio, 1) + 0.0:+.1f}"


def in_points(ratio: float | None) -> str:
    """The same with its unit.

    >>> in_points(0.044), in_points(None)
    ('+4.4 points', '-')
    """
    said = signed_points(ratio)
    return said if said == "-" else f"{said} points"
