"""The look of every table, how its figures are written, and the row of measures."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from rich.table import Table

from calibration.measures.summary import MEASURES
from calibration.measures.table import Column, Measure


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


def _columns(named: Iterable[tuple[Column | None, Measure]]) -> list[tuple[str, Measure]]:
    chosen = [(column, measure) for column, measure in named if column is not None]
    return [
        (column.title, measure)
        for column, measure in sorted(chosen, key=lambda pair: pair[0].place)
    ]


_SUMMARY = _columns((measure.summary, measure) for measure in MEASURES)
_FURTHER = _columns((measure.further, measure) for measure in MEASURES)
MEASURES_COLUMNS = ("", *(title for title, _ in _SUMMARY))
FURTHER_COLUMNS = ("", *(title for title, _ in _FURTHER))


def measures_row(name: str, measures: Mapping[str, float | None]) -> list[str]:
    """Return a row under MEASURES_COLUMNS; `measures` as
    `calibration.measures.summary.Measures.as_dict` returns them.
    """
    return [name, *(_cell(measure, measures) for _, measure in _SUMMARY)]


def further_row(name: str, measures: Mapping[str, float | None]) -> list[str]:
    """Return a row under FURTHER_COLUMNS, with noise floors in parentheses."""
    return [name, *(_cell(measure, measures) for _, measure in _FURTHER)]


def _cell(measure: Measure, measures: Mapping[str, float | None]) -> str:
    value = measures.get(measure.name)
    if measure.upper:
        return interval(value, measures.get(measure.upper))
    shown = figure(value, measure.digits, sign=measure.signed)
    return f"{shown} ({figure(measures.get(measure.floor))})" if measure.floor else shown
