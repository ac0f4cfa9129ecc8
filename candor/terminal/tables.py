"""The look of every table, and how its figures are written."""

import math
from collections.abc import Collection, Sequence

from rich.table import Table


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: Collection[str] = ()
) -> Table:
    """Return a table of figures whose first column names the rows; the columns in `text` are
    wrapped, not cut.
    """
    grid = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    for index, column in enumerate(columns):
        wraps = column in text
        grid.add_column(
            column, justify="left" if index == 0 or wraps else "right", no_wrap=not wraps
        )
    for row in rows:
        grid.add_row(*row)
    return grid


def figure(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """Write a figure with `digits` decimals, with `sign` a + before what is not negative; a dash
    for None and NaN.

    >>> figure(0.04567), figure(0.04567, sign=True), figure(None)
    ('0.046', '+0.046', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    rounded = round(value, digits) + 0.0  # no minus before zero
    return f"{rounded:{'+' if sign else ''}.{digits}f}"


def interval(lower: float | None, upper: float | None) -> str:
    """Write an interval; a dash if neither end is known.

    >>> interval(0.031, 0.0592), interval(None, None)
    ('[0.031, 0.059]', '-')
    """
    ends = figure(lower), figure(upper)
    return "-" if ends == ("-", "-") else f"[{', '.join(ends)}]"
