"""Plots of experiments as PNGs: curves by epoch, ECE by beta, embeddings, the toy problem."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from training.evaluation.plots import BLUE, GRAY, INK, RED, legend_below, save, tidy
from training.experiments.study import Row
from training.experiments.tables import by

SHOWN = {"nll": "cross-entropy", "accuracy": "accuracy", "ece": "ECE"}
MARKED: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.6}
GREEN, GOLD, PURPLE = "#3b8a5a", "#c98a1b", "#7b5ea7"
COLORS = (BLUE, RED, GREEN, GOLD, PURPLE, GRAY, "#17a2a2", "#8c564b", "#e58fb1", "#39424e")


def plot_curves(path: Path, rows: Sequence[Row], *, title: str) -> None:
    """Figure 1: loss, accuracy, ECE by epoch: a color per method, test solid, train dashed."""
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    panels: Sequence[Axes] = figure.subplots(1, 3)
    for axes, name in zip(panels, ("nll", "accuracy", "ece"), strict=True):
        for color, ((method,), some) in zip(COLORS, by(rows, "method").items(), strict=False):
            _draw_curve(axes, some, name, color=color, label=f"{method}, ")
        axes.set_title(SHOWN[name], fontsize=10, color=INK)
        _by_epoch(axes)
    legend_below(figure, panels[0])
    save(figure, path)


def plot_panels(path: Path, rows: Sequence[Row], *, title: str) -> None:
    """Figure 4: a column per method, accuracy above, loss below; training dashed, test solid."""
    methods = by(rows, "method")
    figure = Figure(figsize=(2.9 * len(methods), 5.0), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    grid = figure.subplots(2, len(methods), sharex=True, sharey="row", squeeze=False)
    for line, name in zip(grid, ("accuracy", "nll"), strict=True):
        for axes, some in zip(line, methods.values(), strict=True):
            _draw_curve(axes, some, name, color=BLUE, label="")
        line[0].set_ylabel(SHOWN[name])
    for above, below, (method,) in zip(*grid, methods, strict=True):
        above.set_title(method, fontsize=10, color=INK)
        _by_epoch(below)
    legend_below(figure, grid[0][0])
    save(figure, path)


def plot_betas(
    path: Path,
    series: Mapping[str, Mapping[float, tuple[float, float]]],
    references: Mapping[str, float],
    *,
    title: str,
) -> None:
    """Figure 5: ECE by beta, mean and half width; a line per calibrator, and reference levels."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (color, (name, by_beta)) in enumerate(zip(COLORS, series.items(), strict=False)):
        halves = [0.0 if math.isnan(half) else half for _, half in by_beta.values()]
        x = [beta + 0.2 * number for beta in by_beta]  # so intervals do not hide each other
        y = [mean for mean, _ in by_beta.values()]
        axes.errorbar(x, y, yerr=halves, label=name, color=color, capsize=3, **MARKED)
    for style, (name, level) in zip(("--", ":", "-."), references.items(), strict=False):
        axes.axhline(level, color=INK, linewidth=1, linestyle=style, label=name)
    axes.set_title(title, fontsize=12, color=INK, fontweight="bold")
    axes.set_xlabel("beta")
    axes.set_ylabel("ECE on test")
    axes.set_ylim(bottom=0)
    tidy(axes, percent="y")
    axes.legend(frameon=False, fontsize=9)
    save(figure, path)


@dataclass(frozen=True)
class Embedding:
    """Points in the plane, (N, 2), with their classes (N,) and a title."""

    title: str
    points: NDArray[np.float64]
    labels: NDArray[np.int64]


def plot_embeddings(
    path: Path, embeddings: Sequence[Embedding], classes: Sequence[str], *, title: str
) -> None:
    """Figure 2 of the paper: embeddings side by side, one color per class."""
    figure = Figure(figsize=(5.0 * len(embeddings), 4.8), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    for axes, embedding in zip(
        figure.subplots(1, len(embeddings), squeeze=False)[0], embeddings, strict=True
    ):
        for index, name in enumerate(classes):
            chosen = embedding.points[embedding.labels == index]
            literal = name.replace("$", r"\$")  # not mathematics
            color = COLORS[index % len(COLORS)]
            axes.scatter(*chosen.T, s=9, alpha=0.7, color=color, linewidths=0, label=literal)
        axes.set_title(embedding.title, fontsize=10, color=INK)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#c5c9d0")
    handles, names = figure.axes[0].get_legend_handles_labels()
    columns = min(len(names), 10)
    figure.legend(
        handles, names, loc="outside lower center", ncols=columns, frameon=False, markerscale=2
    )
    save(figure, path)


def plot_toy(
    path: Path,
    position: NDArray[np.float64],
    truth: NDArray[np.float64],
    learned: Mapping[str, tuple[NDArray[np.float64], str]],
    *,
    title: str,
) -> None:
    """Figure 3 of the paper: a panel per method with the learned and the true probability."""
    columns = min(4, len(learned))
    rows = -(-len(learned) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.1 * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, (curve, note)) in zip(panels, learned.items(), strict=False):
        axes.plot(position, truth, color=INK, linewidth=1.2, linestyle="--", label="true")
        axes.plot(position, curve, color=BLUE, linewidth=1.6, label="learned")
        axes.set_title(f"{name}: {note}", fontsize=9, color=INK)
        axes.set_ylim(-0.03, 1.03)
        tidy(axes, percent="y")
    for axes in panels[len(learned) :]:
        axes.set_axis_off()
    legend_below(figure, panels[0])
    figure.supxlabel("x", fontsize=10)
    figure.supylabel("probability of class 1", fontsize=10)
    save(figure, path)


def _draw_curve(axes: Axes, rows: Sequence[Row], name: str, *, color: str, label: str) -> None:
    for split, style, width in (("train", "--", 1.1), ("test", "-", 1.7)):
        values = [row[name] for row in rows if row["split"] == split]
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, values, color=color, ls=style, linewidth=width, label=label + split)
    tidy(axes, percent="" if name == "nll" else "y")


def _by_epoch(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
