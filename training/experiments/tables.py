"""Tables 1 to 3: ECE, accuracy and MCE by method and calibrator, beside the paper's figures.

A table is a pivot of the rows of a study and a format. Calibrators are fitted on validation and
measured on test; nothing here chooses a method.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import numpy as np
from scipy.stats import t as student

from calibration.wording import counted, in_points, percent
from model_store.csv_cells import CsvTable
from training.experiments.paper import PAPER, paper_rows
from training.experiments.study import FIGURES, Row

PLAIN = "none"
BASELINE = ("ce", PLAIN)  # method and calibrator that all others are compared with


def number(value: float) -> str:
    """A figure that is no proportion, such as an NLL; a dash for NaN."""
    return f"{value:.3f}" if math.isfinite(value) else "-"


Write: TypeAlias = Callable[[float], str]
TITLES: dict[str, tuple[str, Write]] = {
    "ece": ("Table 1, ECE", percent),
    "accuracy": ("Table 1, accuracy", percent),
    "mce": ("Tables 2 and 3, MCE", percent),
    "nll": ("NLL", number),
}
DIFFERENCES: dict[str, Write] = {"ECE": in_points, "accuracy": in_points, "NLL": number}
EXPLAINED = (
    "Mean ± half of the 95 % t interval over seeds. floor: the ECE, without calibrator, that a "
    "perfectly calibrated model would show on as many images with these confidences. z: standard "
    "deviations of an ECE above its own floor; above 2 it is more than noise."
)
PAIRED = (
    "Method minus cross-entropy with the same calibrator and seed: mean ± half of the 95 % t "
    "interval. An interval that does not contain 0 is a difference."
)


@dataclass(frozen=True)
class Table:
    """Lines of text by column, the first one naming the line; `name` is the stem of its file."""

    name: str
    title: str
    lines: Sequence[Mapping[str, str]]
    notes: Sequence[str] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for line in self.lines for key in line))

    def cells(self) -> list[tuple[str, ...]]:
        """The lines by position; a dash where a line lacks a column."""
        return [tuple(line.get(key, "-") for key in self.columns) for line in self.lines]

    def write_csv(self, folder: Path) -> None:
        """Write NAME.csv with the cells as they are printed."""
        with (folder / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as stream:
            CsvTable(stream).writerows([self.columns, *self.cells()])


def file_stem(*parts: str) -> str:
    """A file name's stem from titles.

    >>> file_stem("ece", "pneumoniamnist", "torchvision/resnet50 batch_size=32")
    'ece-pneumoniamnist-torchvision-resnet50-batch_size-32'
    """
    return "-".join(re.sub(r"\W+", "-", part) for part in parts)


def by(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows in groups of equal keys, in the order of their first."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def final(rows: Iterable[Row]) -> list[Row]:
    """The rows of test after the last epoch."""
    return [row for row in rows if row["split"] == "test" and row["epoch"] is None]


def mean_half(values: Iterable[float]) -> tuple[float, float]:
    """Mean and half of the 95 % t interval of independent values; NaN where there are too few.

    >>> mean, half = mean_half([1.0, 2.0, 3.0])  # sd 1, t 4.303 at two degrees: 4.303 / sqrt(3)
    >>> mean, round(half, 3)
    (2.0, 2.484)
    """
    known = np.array([value for value in values if math.isfinite(value)])
    if len(known) < 2:
        return (float(known[0]) if len(known) else math.nan), math.nan
    quantile = student.ppf(0.975, len(known) - 1)
    return float(known.mean()), float(quantile * known.std(ddof=1) / math.sqrt(len(known)))


def mean_of(rows: Iterable[Row], figure: str) -> float:
    return mean_half(row[figure] for row in rows)[0]


def estimate(values: Iterable[float], write: Write = percent) -> str:
    """Mean and half of the interval, as `write` writes a figure; "failed" if there is no value.

    >>> estimate([0.10, 0.12]), estimate([0.1023]), estimate([math.nan])
    ('11.0 ± 12.7 %', '10.2 %', 'failed')
    >>> estimate([0.004, 0.005], in_points), estimate([0.1023], number)
    ('+0.5 ± 0.6 points', '0.102')
    """
    mean, half = mean_half(values)
    if math.isnan(mean):
        return "failed"
    text, space, unit = write(mean).partition(" ")
    if math.isfinite(half):
        text += f" ± {write(half).partition(' ')[0].removeprefix('+')}"
    return text + space + unit


def summary(rows: Iterable[Row]) -> list[Row]:
    """Test figures by data set, network, method and calibrator: mean and half of the interval."""
    keys = ("data", "network", "method", "calibrator")
    lines = []
    for titles, group in by(final(rows), *keys).items():
        line: Row = dict(zip(keys, titles, strict=True))
        line |= {"seeds": len(group), "failures": sum(bool(row["failure"]) for row in group)}
        for figure in FIGURES:
            line[figure], line[f"{figure}_half"] = mean_half(row[figure] for row in group)
        lines.append(line)
    return lines


def tables(rows: Sequence[Row]) -> list[Table]:
    """ECE, accuracy, MCE and NLL by data set and network, paired differences, and averages."""
    pairs = by(final(rows), "data", "network").values()
    pivots = [_pivot(figure, some) for figure in TITLES for some in pairs]
    paired = [table for some in pairs if (table := _paired(some)).lines]
    return [*pivots, *paired, averages(rows)]


def _pivot(figure: str, rows: Sequence[Row]) -> Table:
    """One figure on one data set with one network: a line per method, a column per calibrator."""
    data, network = rows[0]["data"], rows[0]["network"]
    title, write = TITLES[figure]
    lines = [_line(figure, method, some, write) for (method,), some in by(rows, "method").items()]
    failures = {f"{row['method']} failed: {row['failure']}": 0 for row in rows if row["failure"]}
    seeds = counted(len({row["seed"] for row in rows}), "seed")
    return Table(
        file_stem(figure, data, network),
        f"{title} on test: {data}, network {network}, {seeds}",
        lines if figure == "nll" else [*lines, *_of_paper(figure, data, network)],
        (*([EXPLAINED] if figure == "ece" else ()), *failures),
    )


def _line(figure: str, method: str, rows: Sequence[Row], write: Write) -> dict[str, str]:
    failed = sum(bool(row["failure"]) for row in rows)
    groups = {calibrator: some for (calibrator,), some in by(rows, "calibrator").items()}
    line = {
        "method": f"{method} ({failed} failed)" if failed else method,
        "floor": percent(mean_of(groups[PLAIN], "noise_floor")),
    }
    for calibrator, some in groups.items():
        line[calibrator] = estimate((row[figure] for row in some), write)
        if figure == "ece" and line[calibrator] != "failed":
            line[calibrator] += f" (z {mean_of(some, 'ece_z'):.1f})"
    return line


def _of_paper(figure: str, data: str, network: str) -> list[dict[str, str]]:
    """The lines of the paper: cross-entropy, alone and with temperature, and DCA."""
    rows = paper_rows(data, network)
    networks = sorted({row["network"] for row in rows})
    where = networks[0] if len(networks) == 1 else f"mean of {len(networks)}"
    return [
        {"method": f"paper ({some[0]['data']}, {where}): {method}"}
        | {
            calibrator: percent(fmean(row[figure] for row in same), 2)
            for (calibrator,), same in by(some, "calibrator").items()
        }
        for (method,), some in by(rows, "method").items()
    ]


def _paired(rows: Sequence[Row]) -> Table:
    """Differences against cross-entropy, paired by seed: what a method changes, without the spread
    that seeds share. Both runs of a pair start from the same weights.
    """
    data, network = rows[0]["data"], rows[0]["network"]
    base = {(row["calibrator"], row["seed"]): row for row in rows if row["method"] == BASELINE[0]}
    lines = []
    for (method, calibrator), some in by(rows, "method", "calibrator").items():
        both = [
            (row, base[calibrator, row["seed"]])
            for row in some
            if (calibrator, row["seed"]) in base and not row["failure"]
        ]
        if method == BASELINE[0] or not both:
            continue
        line = {"method, calibrator": f"{method}, {calibrator}", "seeds": str(len(both))}
        for name, write in DIFFERENCES.items():
            figure = name.lower()
            line[name] = estimate((row[figure] - first[figure] for row, first in both), write)
        lines.append(line)
    title = f"Against cross-entropy, paired by seed: {data}, {network}"
    return Table(file_stem("paired", data, network), title, lines, (PAIRED,))


def averages(rows: Sequence[Row]) -> Table:
    """Averages over data sets and networks, and the cut of the ECE against cross-entropy."""
    known = summary(rows)
    pairs = counted(len(by(known, "data", "network")), "pair")
    lines = [*_averages(known, ""), *_averages(PAPER, "paper: ")]
    return Table("averages", f"Averages over {pairs} of data set and network", lines)


def _averages(rows: Sequence[Row], prefix: str) -> list[dict[str, str]]:
    """A line for each method and calibrator with figures on all data sets and networks."""
    pairs = len(by(rows, "data", "network"))
    groups = by(rows, "method", "calibrator")
    base = {(row["data"], row["network"]): row["ece"] for row in groups.get(BASELINE, [])}
    lines = []
    for titles, some in groups.items():
        if len(some) < pairs:
            continue
        eces = [row["ece"] for row in some]
        firsts = [base.get((row["data"], row["network"]), math.nan) for row in some]
        cuts = [1 - ece / first for ece, first in zip(eces, firsts, strict=True)]
        largest = max(row.get("ece_z", math.nan) for row in some)
        lines.append(
            {
                "method, calibrator": prefix + ", ".join(titles),
                "ECE": percent(fmean(eces), 2),
                "cut": percent(1 - fmean(eces) / fmean(firsts)),
                "cut by row": percent(fmean(cuts)),
                "largest z": f"{largest:.1f}" if math.isfinite(largest) else "-",
                "accuracy": percent(fmean(row["accuracy"] for row in some), 2),
                "MCE": percent(fmean(row["mce"] for row in some), 2),
                "NLL": number(fmean(row.get("nll", math.nan) for row in some)),
            }
        )
    return lines


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows with the same keys as CSV, below a header."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = CsvTable(stream)
        table.writerow(rows[0])
        table.writerows(row.values() for row in rows)
