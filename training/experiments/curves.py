"""Figure 1: how cross-entropy and DCA overfit, epoch by epoch. Figure 2: the features before their
last layer.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from training.datasets import Dataset
from training.experiments.grid import Grid
from training.experiments.pictures import Embedding, plot_curves, plot_embeddings
from training.experiments.runner import ExperimentRunner
from training.experiments.table import ResultTable, format_number
from training.experiments.trace import TRACES, Trace


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
    """Draw Figure 1 for each data set and network with the first seed; return last and best epochs
    as a table.
    """
    for (data, network), chosen in first_seed(traces).items():
        plot_curves(folder / f"curves_{data}_{network}.png", chosen, title=f"{data}, {network}")
    rows = tuple(
        (
            f"{one.cell.method}, seed {one.cell.config.seed}",
            *(format_number(one.curve(split, "loss")[-1]) for split in ("train", "test")),
            format_number(min(one.curve("test", "loss"))),
            str(1 + int(np.argmin(one.curve("test", "loss")))),
            *(format_number(one.curve(split, "accuracy")[-1]) for split in ("train", "test")),
            format_number(one.curve("test", "ece")[-1]),
        )
        for one in traces
    )
    columns = (
        "method",
        "train loss",
        "test loss",
        "lowest test loss",
        "at epoch",
        "train accuracy",
        "test accuracy",
        "test ECE",
    )
    note = (
        "Test is only watched and decides nothing. Loss is the plain cross-entropy in evaluation "
        "mode."
    )
    return [ResultTable("curves", "Figure 1: the last epoch", columns, rows, (note,))]


def draw_embeddings(
    traces: Sequence[Trace], datasets: Mapping[str, Dataset], folder: Path
) -> list[ResultTable]:
    """Draw Figure 2, t-SNE of the last layer's input, with the first seed; return the silhouettes
    of all as a table.
    """
    for (data, network), chosen in first_seed(traces).items():
        embeddings = [_embedding(one) for one in chosen]
        path = folder / f"embedding_{data}_{network}.png"
        plot_embeddings(
            path,
            embeddings,
            datasets[data].classes,
            title=f"{data}, {network}: test images before the last layer",
        )
    rows = tuple(
        (
            f"{one.cell.data}, {one.cell.method}, seed {one.cell.config.seed}",
            format_number(silhouette(one)),
        )
        for one in traces
    )
    note = (
        "Silhouette of the true classes in the 64 dimensions before the last layer, -1 to 1: "
        "higher is better "
        "separated. It is measured in that space and not in the plot, since t-SNE distorts "
        "distances."
    )
    return [ResultTable("embed", "Figure 2: separation", ("method", "silhouette"), rows, (note,))]


def silhouette(one: Trace) -> float:
    """Mean silhouette of the test images' true classes, in the space before the last layer
    (Rousseeuw 1987).
    """
    return float(silhouette_score(one.embedding, one.labels))


def first_seed(traces: Sequence[Trace]) -> dict[tuple[str, str], list[Trace]]:
    """The traces to draw: those of the lowest seed, by data set and network."""
    found: dict[tuple[str, str], list[Trace]] = {}
    lowest = min(one.cell.config.seed for one in traces)
    for one in traces:
        if one.cell.config.seed == lowest:
            found.setdefault((one.cell.data, one.cell.network), []).append(one)
    return found


def _embedding(one: Trace) -> Embedding:
    # t-SNE's perplexity must be below the number of points.
    perplexity = min(30.0, (len(one.labels) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(one.embedding)
    return Embedding(f"{one.cell.method} (silhouette {silhouette(one):.3f})", points, one.labels)
