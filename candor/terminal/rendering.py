"""A document in the terminal.

A terminal that is too narrow for a table shows its columns in portions, one below the other, each
with the names of the rows: so no figure is cut or folded. Elsewhere it is one table.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table as Grid
from rich.text import Text

from calibration.document import (
    Diagram,
    Document,
    FactList,
    FigureTable,
    Heading,
    Items,
    Part,
    Verdict,
)
from candor.terminal.console import visible

_GAP = "  "  # between two columns of a table
_TEXT_WIDTH = 18  # of a column that wraps, at least, where the terminal has so much


def rendered(document: Document) -> Iterator[RenderableType]:
    """Yield what a console prints: sentences in lines, all else with a blank line between."""
    before: Part | None = None
    for part in document:
        if isinstance(part, Diagram):
            continue
        if before is not None and not (isinstance(part, str) and isinstance(before, str)):
            yield ""
        yield _shown(part)
        before = part


def _shown(part: Part) -> RenderableType:
    match part:
        case Heading():
            return Text(visible(part.text), style="bold")
        case Verdict():
            return f"{part.word}. {part.sentence}"
        case FactList():
            return "\n".join(f"  {name:<16} {value}" for name, value in part.rows)
        case Items():
            title = [f"{part.title}:"] if part.title else []
            return "\n".join([*title, *(f"- {line}" for line in part.lines)])
        case FigureTable():
            return ShownTable(part)
    return str(part)


@dataclass(frozen=True, eq=False)
class ShownTable:
    """A table, as wide as the terminal lets it."""

    table: FigureTable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width if console.is_terminal else sys.maxsize
        least = min(_TEXT_WIDTH, width - len(_GAP) - width // 3)
        needed = [self._needed(index, least) for index in range(len(self.table.columns))]
        beside = width - len(_GAP) - max(needed[1:], default=0)
        needed[0] = min(needed[0], max(beside, width // 3))
        if self.table.title:
            yield Text(visible(self.table.title), style="bold")
        for number, portion in enumerate(_portions(needed, width)):
            if number:
                yield ""
            total = sum(needed[index] + len(_GAP) for index in portion) - len(_GAP)
            grid = self._grid(portion, needed)
            yield from console.render(grid, options.update(max_width=max(total, options.max_width)))

    def _needed(self, index: int, least: int) -> int:
        """How many columns of the terminal this one of the table needs; `least` if it wraps."""
        column = self.table.columns[index]
        widest = max(cell_len(visible(each)) for each in (column, *self._cells(index)))
        return min(widest, least) if column in self.table.text else widest

    def _cells(self, index: int) -> Iterator[str]:
        return (row[index] for row in self.table.rows)

    def _grid(self, portion: Sequence[int], needed: Sequence[int]) -> Grid:
        grid = Grid(box=None, pad_edge=False, header_style="dim")
        for index in portion:
            wraps = self.table.columns[index] in self.table.text
            grid.add_column(
                self.table.columns[index],
                justify="left" if index == 0 or wraps else "right",
                no_wrap=not wraps and index > 0,
                width=None if wraps else needed[index],
                overflow="fold",
            )
        for row in self.table.rows:
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
