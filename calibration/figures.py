"""How figures are written in tables: cells, the row of measures, reliability, remedies.

Proportions are written in percent and their differences in points, as on the pages; `figure` writes
what is neither, such as an NLL or an AUROC. JSON has proportions.
"""

import math
from collections.abc import Callable, Iterable, Mapping

from calibration.calibrators.remedies import REMEDIES, RemedyChoice
from calibration.document import FigureTable, Part
from calibration.measures.reliability import ReliabilityBin
from calibration.measures.summary import MEASURES
from calibration.measures.table import Measure
from calibration.wording import counted, percent, percents


def figure(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """Write a figure that is no proportion; a dash for None and NaN; with `sign` a + unless it is
    negative.

    >>> figure(0.04567), figure(0.04567, sign=True), figure(None)
    ('0.046', '+0.046', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    rounded = round(value, digits) + 0.0  # no minus before zero
    return f"{rounded:{'+' if sign else ''}.{digits}f}"


Written = Callable[[float | None], str]


def interval(lower: float | None, upper: float | None, write: Written = figure) -> str:
    """Write an interval of what is no proportion; a dash if neither end is known.

    >>> interval(0.031, 0.0592), interval(None, None)
    ('0.031 to 0.059', '-')
    """
    first, last = write(lower), write(upper)
    return "-" if first == last == "-" else f"{first} to {last}"


def change(before: float | None, after: float | None, write: Written = percent) -> str:
    """Write a figure before and after; only the first if there is no second.

    >>> change(0.1, 0.05), change(0.1, None)
    ('10.0 -> 5.0 %', '10.0 %')
    """
    first = write(before)
    if after is None:
        return first
    return f"{first.removesuffix(' %').removesuffix(' points')} -> {write(after)}"


def bin_cells(bar: ReliabilityBin) -> list[str]:
    """Return how many answers a bin has, and their accuracy with its interval."""
    return [f"{bar.n:,}", percent(bar.accuracy), percents(bar.accuracy_lower, bar.accuracy_upper)]


def bin_name(bar: ReliabilityBin) -> str:
    return percents(bar.lower, bar.upper, 0)


def reliability_table(
    title: str, bins: Iterable[ReliabilityBin], worded: Callable[[str], str] = str
) -> FigureTable:
    """Return a row for each bin that has answers; `worded` renames columns."""
    columns = ("confidence", "n", "accuracy", "95 % interval", "mean confidence")
    rows = [[bin_name(bar), *bin_cells(bar), percent(bar.confidence)] for bar in bins if bar.n]
    return FigureTable(title, [*map(worded, columns)], rows)


_SUMMARY = [measure for measure in MEASURES if measure.summary]
MEASURES_COLUMNS = ("", *(str(measure.summary) for measure in _SUMMARY))


def measures_row(name: str, measures: Mapping[str, float | None]) -> list[str]:
    """Return a row under MEASURES_COLUMNS, of what `Measures.as_dict` returns."""
    return [name, *(_cell(measure, measures) for measure in _SUMMARY)]


def _cell(measure: Measure, measures: Mapping[str, float | None]) -> str:
    value = measures.get(measure.name)
    if measure.upper:
        return percents(value, measures.get(measure.upper))
    return measure.shown(value)


def remedy_table(
    choice: RemedyChoice,
    *,
    unchanged: str,
    title: Callable[[str], str] = lambda name: REMEDIES[name].title,
    by_class: bool = True,
) -> list[Part]:
    """Return the comparison, and why remedies were left out.

    `unchanged`: names the row without a remedy; `by_class`: whether the error of single classes
        means anything.
    """
    rows = [
        [
            unchanged,
            "0",
            figure(choice.served_nll),
            "-",
            "-",
            percent(choice.served_classwise_gap),
            "",
        ]
    ]
    rows += [
        [
            title(trial.name),
            str(trial.parameters),
            figure(trial.nll),
            figure(trial.improvement, sign=True),
            figure(trial.standard_error),
            percent(trial.classwise_gap),
            "chosen" if trial.name == choice.chosen else "",
        ]
        for trial in choice.trials
        if trial.excluded is None
    ]
    if not by_class:
        rows = [[*row[:5], row[6]] for row in rows]
    columns = (
        "",
        "parameters",
        "NLL",
        "improvement",
        "standard error",
        *(("largest class gap",) if by_class else ()),
        "",
    )
    left_out = [
        f"Not considered: {title(trial.name)}, because {trial.excluded}."
        for trial in choice.trials
        if trial.excluded
    ]
    heading = (
        f"Remedies, cross-validated on {counted(choice.rows, 'label')}; the simplest that no "
        "richer one beats is chosen"
    )
    return [FigureTable(heading, columns, rows), *left_out]
