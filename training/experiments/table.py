"""A table of text: its title, columns, rows and footnotes, and the forms in which it leaves."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.experiments.summary import Estimate


@dataclass(frozen=True)
class ResultTable:
    """The first column is text, the others are figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """GitHub's form, with the title in bold above and the notes below."""
        lines = [f"**{self.title}**", "", _line(self.columns), _line(("---", *["---:"] * (len(self.columns) - 1)))]
        lines += [_line(row) for row in self.rows]
        return "\n".join(lines + [f"\n{note}" for note in self.notes]) + "\n"


def shown(estimate: Estimate | None, digits: int = 3) -> str:
    """Mean and half width of the interval, without leading zeros; a dash for nothing.

    >>> shown(Estimate(0.1023, 0.013, 5)), shown(Estimate(0.1023, None, 1)), shown(None)
    ('.102 ± .013', '.102', '-')
    """
    if estimate is None or not math.isfinite(estimate.mean):
        return "-"
    text = number(estimate.mean, digits)
    return text if estimate.half is None else f"{text} ± {number(estimate.half, digits)}"


def number(value: float | None, digits: int = 3) -> str:
    """A figure without its leading zero: .102, -.013, 1.250; a dash for nothing.

    >>> number(-0.0131), number(1.25), number(None)
    ('-.013', '1.250', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}".replace("-0.", "-.", 1) if value < 0 else f"{value:.{digits}f}".removeprefix("0")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows that share their keys, with a header."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
