"""A table of text: title, columns, rows and footnotes, as Markdown or CSV."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

from calibration.wording import percent, points
from model_store.csv_cells import CsvTable
from training.experiments.summary import Estimate

WIDE = 0.1  # half width of an interval of ECE or accuracy, from which it cannot tell methods apart
Columns: TypeAlias = Mapping[str, Callable[[Any], str]]  # how each writes its values


@dataclass(frozen=True)
class ResultTable:
    """The first column is text, the others are figures; `name` is the stem of its file.

    `values`: the rows as numbers by column, proportions as such; empty where other JSON has them.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    values: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        title: str,
        columns: Columns,
        rows: Iterable[Sequence[Any]],
        note: str = "",
    ) -> Self:
        """Return the table of these values, each written as its column is."""
        values = tuple(dict(zip(columns, row, strict=True)) for row in rows)
        texts = tuple(tuple(columns[key](each) for key, each in row.items()) for row in values)
        return cls(name, title, tuple(columns), texts, (note,) if note else (), values)

    def markdown(self) -> str:
        """The table in GitHub's Markdown, with the title in bold above and the notes below."""
        lines = [
            f"**{self.title}**",
            "",
            _line(self.columns),
            _line(("---", *["---:"] * (len(self.columns) - 1))),
        ]
        lines += [_line(row) for row in self.rows]
        return "\n".join(lines + [f"\n{note}" for note in self.notes]) + "\n"

    def write_csv(self, folder: Path) -> None:
        """Write NAME.csv with the cells as they are printed."""
        write_csv(
            folder / f"{self.name}.csv",
            [dict(zip(self.columns, row, strict=True)) for row in self.rows],
        )


def file_stem(*parts: str) -> str:
    """A file name's stem from titles.

    >>> file_stem("ece", "pneumoniamnist", "torchvision/resnet50 batch_size=32")
    'ece-pneumoniamnist-torchvision-resnet50-batch_size-32'
    """
    return "-".join(re.sub(r"\W+", "-", part) for part in parts)


def format_estimate(estimate: Estimate, write: Callable[[float], str] = percent) -> str:
    """Mean and half width of the interval, as `write` writes a figure; a dash for NaN.

    >>> format_estimate(Estimate(0.1023, 0.013, 5)), format_estimate(Estimate(0.1023, None, 1))
    ('10.2 ± 1.3 %', '10.2 %')
    >>> from calibration.wording import in_points
    >>> format_estimate(Estimate(0.004, 0.005, 5), in_points)
    '+0.4 ± 0.5 points'
    >>> format_estimate(Estimate(0.1023, 0.013, 5), format_number)
    '0.102 ± 0.013'
    """
    mean, space, unit = write(estimate.mean).partition(" ")
    if estimate.half is not None and mean != "-":
        mean += f" ± {write(estimate.half).partition(' ')[0].removeprefix('+')}"
    return mean + space + unit


def certainty_notes(estimates: Sequence[Estimate]) -> list[str]:
    """Say what intervals from too few seeds are worth; nothing if all of them are narrow.

    >>> certainty_notes([Estimate(0.05, 0.01, 5)])
    []
    >>> certainty_notes([Estimate(0.09, 1.09, 2), Estimate(0.05, 0.01, 2)])[0][:36]
    '± 109.0 points with 2 seeds says not'
    """
    halves = [(each.half, each.count) for each in estimates if math.isfinite(each.mean)]
    if halves and all(half is None for half, _ in halves):
        return [
            "One seed gives no interval, so a difference between two rows may be chance. Give "
            "--seeds 5."
        ]
    wide, count = max(((half or 0.0, count) for half, count in halves), default=(0.0, 0))
    if wide <= WIDE:
        return []
    return [
        f"± {points(wide)} with {count} seeds says nothing about the figure beside it. Do "
        "not choose by it; give --seeds 5 or more."
    ]


def format_number(value: float | None) -> str:
    """A figure that is no proportion, such as an NLL; a dash for None or NaN.

    >>> format_number(-0.0131), format_number(1.25), format_number(None)
    ('-0.013', '1.250', '-')
    """
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys, below a header."""
    with path.open("w", newline="") as stream:
        table = CsvTable(stream)
        table.writerow(rows[0] if rows else [])
        table.writerows(row.values() for row in rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
