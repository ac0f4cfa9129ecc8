"""Tables 1 to 3: ECE, accuracy and MCE by method and calibrator, beside the paper's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calibration.wording import counted, in_points, percent
from training.datasets import Dataset
from training.evaluation.evaluation import EVALUATED
from training.experiments.cell import CellResult
from training.experiments.grid import Grid
from training.experiments.paper import average_table, averages, paper_rows
from training.experiments.runner import ExperimentRunner
from training.experiments.summary import (
    BASELINE,
    FIGURES,
    MethodSummary,
    estimate,
    measure,
    summarize,
)
from training.experiments.table import (
    ResultTable,
    certainty_notes,
    file_stem,
    format_estimate,
    format_number,
    write_csv,
)

TITLES = {
    "ece": "Table 1, ECE",
    "accuracy": "Table 1, accuracy",
    "mce": "Tables 2 and 3, MCE",
    "nll": "NLL",
}
MARK = "†"
EXPLAINED = (
    "Mean ± half of the 95 % t interval over seeds. floor: the ECE, without calibrator, that a "
    "perfectly calibrated model would show on as many images with these confidences. z: standard "
    "deviations of an ECE above its own floor; above 2 it is more than noise."
)
PAIRED = (
    "Method minus cross-entropy with the same calibrator and seed: mean ± half of the 95 % t "
    "interval. An interval that does not contain 0 is a difference."
)
PAIRED_COLUMNS = ("method, calibrator", "seeds", "ECE", "accuracy", "NLL")
DIFFERENCES = {"ece": in_points, "accuracy": in_points, "nll": format_number}
CHANGES_ARGMAX = f"{MARK} may change the predicted class."


@dataclass(frozen=True)
class GridComparison:
    """The figures of a grid and notes on what was left out."""

    summaries: tuple[MethodSummary, ...]
    results: tuple[CellResult, ...]
    notes: tuple[str, ...]

    def tables(self) -> list[ResultTable]:
        """ECE, accuracy, MCE and NLL by data set and network, paired differences, and averages."""
        by_pair: dict[tuple[str, str], list[MethodSummary]] = {}
        for line in self.summaries:
            by_pair.setdefault(line.pair, []).append(line)
        first, *others = [_table(name, lines) for name in TITLES for lines in by_pair.values()]
        shown = [line.figures[name] for line in self.summaries for name in ("ece", "accuracy")]
        notes = (EXPLAINED, *certainty_notes(shown), CHANGES_ARGMAX, *first.notes)
        paired = paired_tables(self.results)
        averages = average_table(self.summaries, self.notes)
        return [replace(first, notes=notes), *others, *paired, averages]

    def write(self, folder: Path) -> None:
        """Write summary.csv, a row per method and calibrator, and cells.csv, the same per run."""
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / "summary.csv", self.as_rows())
        write_csv(
            folder / "cells.csv", [row for result in self.results for row in _cell_rows(result)]
        )

    def as_rows(self) -> list[dict[str, Any]]:
        """The rows of summary.csv."""
        return [_summary_row(line) for line in self.summaries]


def compare(
    grid: Grid,
    datasets: Mapping[str, Dataset],
    runner: ExperimentRunner,
    *,
    data_folder: Path | None,
) -> GridComparison:
    """Compute missing cells and summarize all. Raises WeightsNotFound and what training raises."""
    results, notes = runner.run(grid.cells(datasets, data_folder), datasets)
    return GridComparison(tuple(summarize(results)), tuple(results), tuple(notes))


def _table(name: str, lines: Sequence[MethodSummary]) -> ResultTable:
    """One figure on one data set with one network: a row per method, a column per calibrator."""
    data, network = lines[0].pair
    by_method: dict[str, dict[str, MethodSummary]] = {}
    for line in lines:
        by_method.setdefault(line.method, {})[line.calibrator] = line
    rows: list[tuple[str, ...]] = []
    for method, by_calibrator in by_method.items():
        plain = by_calibrator[BASELINE[1]]
        failed = f" ({len(plain.failures)} failed)" if plain.failures else ""
        floor = percent(plain.figures["noise_floor"].mean)
        figures = [_cell(name, line) for line in by_calibrator.values()]
        rows.append((method + failed, floor, *figures))
    first = next(iter(by_method.values())).values()
    columns = [line.calibrator if line.keeps_argmax else line.calibrator + MARK for line in first]
    seeds = max(line.figures["ece"].count for line in lines)
    failures = tuple(
        dict.fromkeys(f"{line.method} failed: {why}" for line in lines for why in line.failures)
    )
    return ResultTable(
        file_stem(name, data, network),
        f"{TITLES[name]} on test: {data}, network {network}, {counted(seeds, 'seed')}",
        ("method", "floor", *columns),
        (*rows, *_beside(name, lines[0].pair, columns=len(columns))),
        failures,
    )


def _beside(name: str, pair: tuple[str, str], *, columns: int) -> list[tuple[str, ...]]:
    """The rows of the paper for this table: cross-entropy, alone and with temperature, and DCA."""
    rows = paper_rows(*pair)
    if not rows or name == "nll":
        return []
    known = averages(rows)
    where = f"paper ({known.data}, {known.network})"
    blank = ["-"] * (columns - 2)
    plain, temperature, dca = (percent(value, 2) for value in known.figures[name])
    return [
        (f"{where}: ce", "-", plain, temperature, *blank),
        (f"{where}: dca", "-", dca, "-", *blank),
    ]


def _cell(name: str, line: MethodSummary) -> str:
    shown = format_estimate(line.figures[name], format_number if name == "nll" else percent)
    if name != "ece":
        return shown
    return f"{shown} (z {line.figures['ece_z'].mean:.1f})" if line.figures[name].count else "failed"


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


def _cell_rows(result: CellResult) -> list[dict[str, Any]]:
    cell = result.cell
    about = {
        "data": cell.data,
        "network": cell.network,
        "method": cell.method,
        "seed": cell.config.seed,
        "cell": cell.key,
        "seconds": result.seconds,
    }
    if result.failure:
        return []
    return [
        about
        | {"split": split, "calibrator": name}
        | {figure: getattr(measures, figure) for figure in FIGURES}
        for split in EVALUATED
        for name, measures in measure(result, split).items()
    ]


def paired_tables(results: Sequence[CellResult]) -> list[ResultTable]:
    """Differences against cross-entropy by data set and network, paired by seed: what a method
    changes, without the spread that seeds share.

    Both runs of a pair start from the same weights and are measured on the same test images.
    """
    groups: dict[tuple[str, str], dict[str, dict[int, CellResult]]] = {}
    for result in results:
        cell = result.cell
        if not result.failure:
            methods = groups.setdefault((cell.data, cell.network), {})
            methods.setdefault(cell.method, {})[cell.config.seed] = result
    return [
        _paired_table(pair, methods)
        for pair, methods in groups.items()
        if BASELINE[0] in methods and len(methods) > 1
    ]


def _paired_table(pair: tuple[str, str], methods: dict[str, dict[int, CellResult]]) -> ResultTable:
    base = {seed: measure(result) for seed, result in methods[BASELINE[0]].items()}
    rows: list[tuple[str, ...]] = []
    for method, by_seed in methods.items():
        found = {seed: measure(result) for seed, result in by_seed.items() if seed in base}
        if method == BASELINE[0] or not found:
            continue
        for calibrator in next(iter(found.values())):
            differences = {
                figure: estimate(
                    getattr(measures[calibrator], figure) - getattr(base[seed][calibrator], figure)
                    for seed, measures in found.items()
                )
                for figure in DIFFERENCES
            }
            shown = (format_estimate(each, DIFFERENCES[name]) for name, each in differences.items())
            rows.append((f"{method}, {calibrator}", str(len(found)), *shown))
    title = f"Against cross-entropy, paired by seed: {', '.join(pair)}"
    return ResultTable(file_stem("paired", *pair), title, PAIRED_COLUMNS, tuple(rows), (PAIRED,))
