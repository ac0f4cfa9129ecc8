"""Figures 4 and 5: the effect of DCA's strength on training and on ECE."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.experiments.compare import GridComparison
from training.experiments.curves import first_seed
from training.experiments.grid import Grid
from training.experiments.pictures import plot_betas, plot_panels
from training.experiments.summary import MethodSummary
from training.experiments.table import ResultTable, file_stem, format_estimate, format_number
from training.experiments.trace import Trace
from training.experiments.variant import Variant

BETAS = (1.0, 5.0, 10.0, 15.0, 20.0, 25.0)  # the paper's sweep
DRAWN = ("none", "temperature")
REFERENCE = Variant("ce", "ce")


def beta_grid(grid: Grid, *, loss: str = "dca", betas: Sequence[float] = BETAS) -> Grid:
    """`grid` with cross-entropy and `loss` at each strength as its methods."""
    return replace(grid, methods=(REFERENCE, *(strength(loss, beta) for beta in betas)))


def strength(loss: str, beta: float) -> Variant:
    """`loss` with this strength; DCA as in the paper, with the gap of the images that cross-entropy
    learns.

    >>> strength("dca", 10.0)
    Variant(title='dca beta=10', subject='dca', changes={'beta': 10.0, 'held_out': 0.0, 'start':
    0.0})
    """
    paper = {"held_out": 0.0, "start": 0.0} if loss == "dca" else {}
    return Variant(f"{loss} beta={beta:g}", loss, {"beta": beta} | paper)


def panels_grid(grid: Grid) -> Grid:
    """The grid of Figure 4: four of the strengths, from first to last, and one seed."""
    methods = [method for method in grid.methods if method != REFERENCE]
    chosen = sorted({round(index * (len(methods) - 1) / 3) for index in range(4)})
    return replace(grid, methods=tuple(methods[index] for index in chosen), seeds=grid.seeds[:1])


def draw_betas(comparison: GridComparison, grid: Grid, folder: Path) -> list[ResultTable]:
    """Draw Figure 5 for each data set and network; return its values as tables."""
    tables = []
    strengths = {
        method.title: method.changes["beta"] for method in grid.methods if method != REFERENCE
    }
    pairs = list(dict.fromkeys(line.pair for line in comparison.summaries))
    for data, network in pairs:
        lines = [
            line
            for line in comparison.summaries
            if line.pair == (data, network) and line.calibrator in DRAWN
        ]
        series = {
            calibrator: {
                strengths[line.method]: line.figures["ece"]
                for line in lines
                if line.calibrator == calibrator
                and line.method in strengths
                and line.figures["ece"].count
            }
            for calibrator in DRAWN
        }
        references = {
            f"cross-entropy, {line.calibrator}": line.figures["ece"].mean
            for line in _reference(lines)
        }
        plot_betas(
            folder / f"beta_{data}_{network}.png", series, references, title=f"{data}, {network}"
        )
        tables.append(_table(lines, data, network))
    return tables


def draw_panels(traces: Sequence[Trace], folder: Path) -> None:
    """Draw Figure 4 for each data set and network."""
    for (data, network), chosen in first_seed(traces).items():
        plot_panels(folder / f"training_{data}_{network}.png", chosen, title=f"{data}, {network}")


def _reference(lines: Sequence[MethodSummary]) -> list[MethodSummary]:
    return [line for line in lines if line.method == REFERENCE.title]


def _table(lines: Sequence[MethodSummary], data: str, network: str) -> ResultTable:
    by_method: dict[str, list[MethodSummary]] = {}
    for line in lines:
        by_method.setdefault(line.method, []).append(line)
    rows = tuple(
        (
            method,
            *(format_estimate(line.figures["ece"]) for line in known),
            format_number(known[0].figures["noise_floor"].mean),
            format_estimate(known[0].figures["accuracy"]),
            format_estimate(known[0].figures["signed_gap"]),
        )
        for method, known in by_method.items()
    )
    columns = ("method", *(f"ECE, {name}" for name in DRAWN), "floor", "accuracy", "gap")
    return ResultTable(
        file_stem("beta", data, network), f"Figure 5: {data}, {network}", columns, rows
    )
