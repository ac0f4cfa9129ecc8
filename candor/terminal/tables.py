"""The look of every table, how its figures are written, and the row of measures.

Proportions are written in percent and their differences in points, as on the pages; `figure` writes
what is neither, such as an NLL or an AUROC. JSON has proportions.
"""

import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from calibration.measures.reliability import ReliabilityBin
from calibration.measures.summary import MEASURES
from calibration.measures.table import Measure
from calibration.wording import percent, percents
from candor.terminal.console import visible

if TYPE_CHECKING:
    from monitoring.diagnosis.vocabulary import Terms


_GAP = "  "  # between two columns of a table
_TEXT_WIDTH = 18  # of a column that wraps, at least


@dataclass(frozen=True, eq=False)
class FigureTable:
    """A table whose first column names the rows. `text` are columns that wrap.

    A terminal that is too narrow for it shows its columns in portions, one below the other, each
    with the names of the rows: so no figure is cut or folded. Elsewhere it is one table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: Collection[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width if console.is_terminal else sys.maxsize
        needed = [self._needed(index) for index in range(len(self.columns))]
        beside = width - len(_GAP) - max(needed[1:], default=0)
        needed[0] = min(needed[0], max(beside, width // 3))
        if self.title:
            yield Text(visible(self.title), style="bold")
        for number, portion in enumerate(_portions(needed, width)):
            if number:
                yield ""
            total = sum(needed[index] + len(_GAP) for index in portion) - len(_GAP)
            grid = self._grid(portion, needed)
            yield from console.render(grid, options.update(max_width=max(total, options.max_width)))

    def _needed(self, index: int) -> int:
        """How many columns of the terminal this one of the table needs."""
        cells = (self.columns[index], *(row[index] for row in self.rows))
        widest = max(cell_len(visible(each)) for each in cells)
        return min(widest, _TEXT_WIDTH) if self.columns[index] in self.text else widest

    def _grid(self, portion: Sequence[int], needed: Sequence[int]) -> Table:
        grid = Table(box=None, pad_edge=False, header_style="dim")
        for index in portion:
            wraps = self.columns[index] in self.text
            grid.add_column(
                self.columns[index],
                justify="left" if index == 0 or wraps else "right",
                no_wrap=not wraps and index > 0,
                min_width=None if wraps else needed[index],
                max_width=needed[0] if index == 0 and not wraps else None,
                overflow="fold",
            )
        for row in self.rows:
            grid.add_row(*(row[index] for index in portion))
        return grid


def _portions(needed: Sequence[int], width: int) -> Iterator[list[int]]:
    """Yield the columns that stand beside the first one, as many at a time as fit."""
    portion = [0]
    for index in range(1, len(needed)):
        taken = sum(needed[each] + len(_GAP) for each in portion)
        if len(portion) > 1 and taken + needed[index] > width:
            yield portion
            portion = [0]
        portion.append(index)
    yield portion


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


def worded(columns: Sequence[str], said: "Terms | None") -> list[str]:
    """Return the names of columns as `said` calls them, or as they are."""
    if said is None:
        return [*columns]
    return [said.reworded(each) for each in columns]


def reliability_table(
    title: str, bins: Iterable[ReliabilityBin], said: "Terms | None" = None
) -> FigureTable:
    """Return a row for each bin that has answers."""
    columns = ("confidence", "n", "accuracy", "95 % interval", "mean confidence")
    rows = [[bin_name(bar), *bin_cells(bar), percent(bar.confidence)] for bar in bins if bar.n]
    return FigureTable(title, worded(columns, said), rows)


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
