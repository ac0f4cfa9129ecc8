"""Figures 1 (overfitting), 2 (features), 4 and 5 (DCA's strength) of the paper."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from calibration.wording import in_points, percent
from training.datasets import Dataset
from training.experiments.compare import GridComparison
from training.experiments.grid import Grid, Variant
from training.experiments.pictures import (
    Embedding,
    plot_betas,
    plot_curves,
    plot_embeddings,
    plot_panels,
)
from training.experiments.runner import ExperimentRunner
from training.experiments.summary import Estimate, MethodSummary
from training.experiments.table import (
    Columns,
    ResultTable,
    file_stem,
    format_estimate,
    format_number,
)
from training.experiments.trace import TRACES, Trace

BETAS = (1.0, 5.0, 10.0, 15.0, 20.0, 25.0)  # the paper's sweep
DRAWN = ("none", "temperature")
REFERENCE = Variant("ce", "ce")


def trace(
    grid: Grid,
    datasets: Mapping[str, Dataset],
    runner: ExperimentRunner,
    *,
    data_folder: Path | None,
) -> tuple[list[Trace], list[str]]:
    """Compute missing traces of a grid; return all of them, and notes on what was left out."""
    return runner.run_job(TRACES, grid.cells(datasets, data_folder), datasets)


def draw_curves(traces: Sequence[Trace], folder: Path) -> list[ResultTable]:
    """Draw Figure 1 with the first seed; return last and best epochs as a table."""
    for (data, network), chosen in first_seed(traces).items():
        plot_curves(folder / f"curves_{data}_{network}.png", chosen, title=f"{data}, {network}")
    rows = (
        (
            f"{one.cell.method}, seed {one.cell.config.seed}",
            *(one.curve(split, "loss")[-1] for split in ("train", "test")),
            min(one.curve("test", "loss")),
            1 + int(np.argmin(one.curve("test", "loss"))),
            *(one.curve(split, "accuracy")[-1] for split in ("train", "test")),
            one.curve("test", "ece")[-1],
        )
        for one in traces
    )
    columns: Columns = {
        "method": str,
        "train loss": format_number,
        "test loss": format_number,
        "lowest test loss": format_number,
        "at epoch": str,
        "train accuracy": percent,
        "test accuracy": percent,
        "test ECE": percent,
    }
    note = (
        "Test is only watched and decides nothing. Loss is the plain cross-entropy in evaluation "
        "mode."
    )
    return [ResultTable.of("curves", "Figure 1: the last epoch", columns, rows, note)]


def draw_embeddings(
    traces: Sequence[Trace], datasets: Mapping[str, Dataset], folder: Path
) -> list[ResultTable]:
    """Draw Figure 2, t-SNE of the last layer's input; return the silhouettes as a table."""
    for (data, network), chosen in first_seed(traces).items():
        path, embeddings = folder / f"embedding_{data}_{network}.png", [*map(_embedding, chosen)]
        title = f"{data}, {network}: test images before the last layer"
        plot_embeddings(path, embeddings, datasets[data].classes, title=title)
    rows = (
        (f"{one.cell.data}, {one.cell.method}, seed {one.cell.config.seed}", silhouette(one))
        for one in traces
    )
    columns: Columns = {"method": str, "silhouette": format_number}
    note = (
        "Silhouette of the true classes in the 64 dimensions before the last layer, -1 to 1: "
        "higher is better separated. It is measured in that space and not in the plot, since t-SNE "
        "distorts distances."
    )
    return [ResultTable.of("embed", "Figure 2: separation", columns, rows, note)]


def silhouette(one: Trace) -> float:
    """Mean silhouette of true classes before the last layer (Rousseeuw 1987)."""
    return float(silhouette_score(one.embedding, one.labels))


def first_seed(traces: Sequence[Trace]) -> dict[tuple[str, str], list[Trace]]:
    """The traces to draw: those of the lowest seed, by data set and network."""
    drawn: dict[tuple[str, str], list[Trace]] = {}
    lowest = min(one.cell.config.seed for one in traces)
    for one in traces:
        if one.cell.config.seed == lowest:
            drawn.setdefault((one.cell.data, one.cell.network), []).append(one)
    return drawn


def _embedding(one: Trace) -> Embedding:
    # t-SNE's perplexity must be below the number of points.
    perplexity = min(30.0, (len(one.labels) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(one.embedding)
    return Embedding(f"{one.cell.method} (silhouette {silhouette(one):.3f})", points, one.labels)


def beta_grid(grid: Grid, *, loss: str = "dca", betas: Sequence[float] = BETAS) -> Grid:
    """`grid` with cross-entropy and `loss` at each strength as its methods."""
    return replace(grid, methods=(REFERENCE, *(strength(loss, beta) for beta in betas)))


def strength(loss: str, beta: float) -> Variant:
    """`loss` with this strength.

    >>> strength("dca", 10.0)
    Variant(title='dca beta=10', subject='dca', changes={'beta': 10.0})
    """
    return Variant(f"{loss} beta={beta:g}", loss, {"beta": beta})


def panels_grid(grid: Grid) -> Grid:
    """The grid of Figure 4: four of the strengths, from first to last, and one seed."""
    methods = [method for method in grid.methods if method != REFERENCE]
    chosen = sorted({round(index * (len(methods) - 1) / 3) for index in range(4)})
    return replace(grid, methods=tuple(methods[index] for index in chosen), seeds=grid.seeds[:1])


def draw_betas(comparison: GridComparison, grid: Grid, folder: Path) -> list[ResultTable]:
    """Draw Figure 5 for each data set and network; return its values as tables."""
    betas = {variant.title: variant.changes.get("beta") for variant in grid.methods}
    by_pair: dict[tuple[str, str], list[MethodSummary]] = {}
    for line in comparison.summaries:
        if line.calibrator in DRAWN:
            by_pair.setdefault(line.pair, []).append(line)
    tables = []
    for (data, network), lines in by_pair.items():
        series: dict[str, dict[float, Estimate]] = {calibrator: {} for calibrator in DRAWN}
        references: dict[str, float] = {}
        for line in lines:
            beta, ece = betas[line.method], line.figures["ece"]
            if beta is None:
                references[f"cross-entropy, {line.calibrator}"] = ece.mean
            elif ece.count:
                series[line.calibrator][beta] = ece
        path = folder / f"beta_{data}_{network}.png"
        plot_betas(path, series, references, title=f"{data}, {network}")
        tables.append(_beta_table(lines, data, network))
    return tables


def draw_panels(traces: Sequence[Trace], folder: Path) -> None:
    """Draw Figure 4 for each data set and network."""
    for (data, network), chosen in first_seed(traces).items():
        plot_panels(folder / f"training_{data}_{network}.png", chosen, title=f"{data}, {network}")


def _beta_table(lines: Sequence[MethodSummary], data: str, network: str) -> ResultTable:
    by_method: dict[str, list[MethodSummary]] = {}
    for line in lines:
        by_method.setdefault(line.method, []).append(line)
    rows = (
        (
            method,
            *(line.figures["ece"] for line in known),
            known[0].figures["noise_floor"].mean,
            *(known[0].figures[name] for name in ("accuracy", "signed_gap")),
        )
        for method, known in by_method.items()
    )
    columns: Columns = {
        "method": str,
        **{f"ECE, {name}": format_estimate for name in DRAWN},
        "floor": percent,
        "accuracy": format_estimate,
        "gap": partial(format_estimate, write=in_points),
    }
    title = f"Figure 5: {data}, {network}"
    return ResultTable.of(file_stem("beta", data, network), title, columns, rows)
