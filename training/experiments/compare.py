"""Tables 1, 2 and 3: ECE, accuracy and MCE of every method and calibrator, the paper's figures in the same tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from training.datasets import Dataset
from training.evaluation.evaluation import EVALUATED
from training.experiments.cell import CellResult
from training.experiments.grid import Grid
from training.experiments.paper import MISPRINTS, ROWS, averages, paper_rows
from training.experiments.runner import ExperimentRunner
from training.experiments.summary import FIGURES, MethodSummary, measure, summarize
from training.experiments.table import ResultTable, number, shown, write_csv

BASELINE = ("ce", "none")
MARK = "†"
EXPLAINED = (
    "Mean ± half of the 95 % t interval over seeds. floor: the ECE, without calibrator, that a perfectly calibrated "
    "model would show on as many images with these confidences. z: standard deviations of an ECE above its own floor; "
    "above 2 it is no longer noise."
)
CHANGES_ARGMAX = f"{MARK} may change the predicted class."


@dataclass(frozen=True)
class GridComparison:
    """The figures of a grid and what was left out of it."""

    summaries: tuple[MethodSummary, ...]
    outcomes: tuple[CellResult, ...]
    notes: tuple[str, ...]

    def tables(self) -> list[ResultTable]:
        """ECE, accuracy, MCE and NLL by data set and network, then averages over them."""
        kinds: list[tuple[str, Callable[[MethodSummary], str]]] = [
            ("Table 1, ECE", _ece),
            ("Table 1, accuracy", lambda line: shown(line.figures["accuracy"])),
            ("Tables 2 and 3, MCE", lambda line: shown(line.figures["mce"])),
            ("NLL", lambda line: shown(line.figures["nll"])),
        ]
        pairs = list(dict.fromkeys(line.pair for line in self.summaries))
        made = [_table(title, figure, pair, self._of(pair)) for title, figure in kinds for pair in pairs]
        first = replace(made[0], notes=(EXPLAINED, CHANGES_ARGMAX, *made[0].notes))
        return [first, *made[1:], average_table(self.summaries, self.notes)]

    def write(self, folder: Path) -> None:
        """summary.csv (a line a method and calibrator) and cells.csv (a line a run and calibrator)."""
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / "summary.csv", self.as_rows())
        write_csv(folder / "cells.csv", [row for outcome in self.outcomes for row in _cell_rows(outcome)])

    def as_rows(self) -> list[dict[str, Any]]:
        """summary.csv as plain data."""
        return [_summary_row(line) for line in self.summaries]

    def _of(self, pair: tuple[str, str]) -> list[MethodSummary]:
        return [line for line in self.summaries if line.pair == pair]


def compare(
    grid: Grid, datasets: Mapping[str, Dataset], runner: ExperimentRunner, *, data_folder: Path | None
) -> GridComparison:
    """Compute the grid's missing cells and summarize all of them. Raises WeightsNotFound and what training raises."""
    outcomes, notes = runner.run(grid.cells(datasets, data_folder), datasets)
    return GridComparison(tuple(summarize(outcomes)), tuple(outcomes), tuple(notes))


def average_table(summaries: Sequence[MethodSummary], notes: Sequence[str] = ()) -> ResultTable:
    """Averages over data sets and networks, and the cut of the average ECE against cross-entropy alone."""
    pairs = {line.pair for line in summaries}
    by_method: dict[tuple[str, str], list[MethodSummary]] = {}
    for line in summaries:
        by_method.setdefault((line.method, line.calibrator), []).append(line)
    base = {line.pair: line.figures["ece"].mean for line in by_method.get(BASELINE, [])}
    rows = [
        _average_row(f"{method}, {calibrator}", lines, base)
        for (method, calibrator), lines in by_method.items()
        if {line.pair for line in lines} == pairs
    ]
    return ResultTable(
        f"Averages over {len(pairs)} data sets and networks",
        ("method, calibrator", "ECE", "cut %", "cut by row %", "largest z", "accuracy", "MCE", "NLL"),
        (*rows, *_paper_averages()),
        (*notes, *MISPRINTS),
    )


def _average_row(title: str, lines: Sequence[MethodSummary], base: Mapping[tuple[str, str], float]) -> tuple[str, ...]:
    def mean(figure: str) -> float:
        return fmean(line.figures[figure].mean for line in lines)

    cut = 1 - mean("ece") / fmean(base.values()) if base else None
    by_row = fmean(1 - line.figures["ece"].mean / base[line.pair] for line in lines) if base else None
    largest = max(line.figures["ece_z"].mean for line in lines)
    return (
        title,
        number(mean("ece"), 4),
        _percent(cut),
        _percent(by_row),
        f"{largest:.1f}",
        number(mean("accuracy"), 4),
        number(mean("mce"), 4),
        number(mean("nll")),
    )


def _paper_averages() -> list[tuple[str, ...]]:
    known = averages()
    made: list[tuple[str, ...]] = []
    for index, (title, accuracy) in enumerate(
        (("ce, none", known.accuracy[0]), ("ce, temperature", known.accuracy[0]), ("dca, none", known.accuracy[1]))
    ):
        cut = 1 - known.ece[index] / known.ece[0]
        by_row = fmean(1 - row.ece[index] / row.ece[0] for row in ROWS)
        note = "³" if index == 2 else ""  # of MISPRINTS
        made.append(
            (
                f"paper: {title}",
                number(known.ece[index], 4) + ("⁵" if index == 2 else ""),
                _percent(cut) + note,
                _percent(by_row) + note,
                "-",
                number(accuracy, 4) + ("⁴" if index == 2 else ""),
                number(known.mce[index], 4) + "¹ ²",
                "-",
            )
        )
    return made


def _table(
    title: str, figure: Callable[[MethodSummary], str], pair: tuple[str, str], lines: Sequence[MethodSummary]
) -> ResultTable:
    """One figure: a row a method, a column a calibrator."""
    by_method: dict[str, dict[str, MethodSummary]] = {}
    for line in lines:
        by_method.setdefault(line.method, {})[line.calibrator] = line
    rows = [
        (
            method + _failed(known[BASELINE[1]]),
            number(known[BASELINE[1]].figures["noise_floor"].mean),
            *[figure(line) for line in known.values()],
        )
        for method, known in by_method.items()
    ]
    first = next(iter(by_method.values())).values()
    columns = [line.calibrator if line.keeps_argmax else line.calibrator + MARK for line in first]
    seeds = max(line.figures["ece"].count for line in lines)
    failures = tuple(dict.fromkeys(f"{line.method} failed: {why}" for line in lines for why in line.failures))
    return ResultTable(
        f"{title}: {pair[0]}, {pair[1]}, {seeds} seed{'s' if seeds > 1 else ''}",
        ("method", "floor", *columns),
        (*rows, *_beside(title, pair, columns=len(columns))),
        failures,
    )


def _beside(title: str, pair: tuple[str, str], *, columns: int) -> list[tuple[str, ...]]:
    """The paper's rows for this table: cross-entropy (alone, with temperature) and DCA."""
    rows = paper_rows(*pair)
    if not rows or title == "NLL":
        return []
    known = averages(rows)
    name = f"paper ({known.data}, {known.network})"
    blank = ["-"] * (columns - 2)
    if "accuracy" in title:
        values = (known.accuracy[0], known.accuracy[0], known.accuracy[1])
    else:
        values = known.mce if "MCE" in title else known.ece
    plain, temperature, dca = (number(value, 4) for value in values)
    return [(f"{name}: ce", "-", plain, temperature, *blank), (f"{name}: dca", "-", dca, "-", *blank)]


def _ece(line: MethodSummary) -> str:
    z = line.figures["ece_z"].mean
    return f"{shown(line.figures['ece'])} (z {z:.1f})" if line.figures["ece"].count else "failed"


def _failed(line: MethodSummary) -> str:
    return f" ({len(line.failures)} failed)" if line.failures else ""


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _summary_row(line: MethodSummary) -> dict[str, Any]:
    row: dict[str, Any] = {
        "data": line.data,
        "network": line.network,
        "method": line.method,
        "calibrator": line.calibrator,
        "keeps_argmax": line.keeps_argmax,
        "seeds": line.figures["ece"].count,
        "failures": len(line.failures),
    }
    for name in FIGURES:
        row |= {name: line.figures[name].mean, f"{name}_half": line.figures[name].half}
    return row


def _cell_rows(outcome: CellResult) -> list[dict[str, Any]]:
    cell = outcome.cell
    about = {
        "data": cell.data,
        "network": cell.network,
        "method": cell.method,
        "seed": cell.config.seed,
        "cell": cell.key,
        "seconds": outcome.seconds,
    }
    if outcome.failure:
        return []
    return [
        about | {"split": split, "calibrator": name} | {figure: getattr(measures, figure) for figure in FIGURES}
        for split in EVALUATED
        for name, measures in measure(outcome, split).items()
    ]
