"""Figures 1 (overfitting), 2 (features), 4 and 5 (DCA's strength) as PNGs, and their tables."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from calibration.wording import in_points, percent
from training.evaluation.plots import BLUE, GRAY, INK, RED, legend_below, save, tidy, titled
from training.experiments.study import Row
from training.experiments.tables import (
    PLAIN,
    Table,
    by,
    estimate,
    file_stem,
    final,
    mean_half,
    mean_of,
    number,
)

COLORS = (BLUE, RED, "#3b8a5a", "#c98a1b", "#7b5ea7", GRAY, "#17a2a2", "#8c564b", "#e58fb1")
CURVES = {"nll": "cross-entropy", "accuracy": "accuracy", "ece": "ECE"}
DRAWN = (PLAIN, "temperature")
LEVELS = ("--", ":")  # of a method without a strength
WATCHED = (
    "Test is only watched and decides nothing. Loss is the plain cross-entropy in evaluation mode."
)
SEPARATION = (
    "Silhouette of the true classes in the space before the last layer, -1 to 1: higher is better "
    "separated (Rousseeuw 1987). t-SNE distorts distances, so it is not measured in the plot."
)


def epochs(figure: int, rows: Sequence[Row], folder: Path) -> list[Table]:
    """Draw Figure 1 or 4 with the first seed; return the last epochs, of every seed."""
    known = [row for row in rows if row["epoch"] is not None]
    for (data, network), some in by(_first_seed(known), "data", "network").items():
        path = folder / f"figure{figure}_{file_stem(data, network)}.png"
        _draw_epochs(path, some, title=f"{data}, {network}")
    lines = [
        {"method": f"{method}, seed {seed}"} | _last_epoch(some)
        for (_, _, method, seed), some in by(known, "data", "network", "method", "seed").items()
    ]
    return [Table(f"figure{figure}", f"Figure {figure}: the last epoch", lines, (WATCHED,))]


def _last_epoch(rows: Sequence[Row]) -> dict[str, str]:
    of = {split: some for (split,), some in by(rows, "split").items()}
    losses = [row["nll"] for row in of["test"]]
    train, test = of["train"][-1], of["test"][-1]
    return {
        "train loss": number(train["nll"]),
        "test loss": number(test["nll"]),
        "lowest test loss": number(min(losses)),
        "at epoch": str(1 + int(np.argmin(losses))),
        "train accuracy": percent(train["accuracy"]),
        "test accuracy": percent(test["accuracy"]),
        "test ECE": percent(test["ece"]),
    }


def _draw_epochs(path: Path, rows: Sequence[Row], *, title: str) -> None:
    """Loss, accuracy and ECE by epoch: a color per method, test solid, training dashed."""
    figure = titled(title, 11.0, 3.6)
    panels: Sequence[Axes] = figure.subplots(1, len(CURVES))
    for axes, (figure_of, name) in zip(panels, CURVES.items(), strict=True):
        for color, ((method,), some) in zip(COLORS, by(rows, "method").items(), strict=False):
            for split, style, width in (("train", "--", 1.1), ("test", "-", 1.7)):
                values = [row[figure_of] for row in some if row["split"] == split]
                drawn: dict[str, Any] = {"color": color, "ls": style, "linewidth": width}
                axes.plot(range(1, len(values) + 1), values, label=f"{method}, {split}", **drawn)
        axes.set_title(name, fontsize=10, color=INK)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes, percent="" if figure_of == "nll" else "y")
    legend_below(figure, panels[0])
    save(figure, path)


def embeddings(rows: Sequence[Row], cells: Path, folder: Path) -> list[Table]:
    """Draw Figure 2, t-SNE of what `cells` has of each row, with the first seed; return silhouettes
    of every seed.
    """
    known = [row for row in final(rows) if row["calibrator"] == PLAIN and not row["failure"]]
    found = {row["cell"]: dict(np.load(cells / f"{row['cell']}.npz")) for row in known}
    values = {
        cell: float(silhouette_score(each["points"], each["labels"]))
        for cell, each in found.items()
    }
    for (data, network), some in by(_first_seed(known), "data", "network").items():
        figure = titled(f"{data}, {network}: test images before the last layer", len(some) * 5, 5)
        for axes, row in zip(figure.subplots(1, len(some), squeeze=False)[0], some, strict=True):
            cell = row["cell"]
            _draw_plane(axes, **found[cell])
            title = f"{row['method']} (silhouette {values[cell]:.3f})"
            axes.set_title(title, fontsize=10, color=INK)
        legend_below(figure, figure.axes[0])
        save(figure, folder / f"figure2_{file_stem(data, network)}.png")
    lines = [
        {
            "method": f"{row['data']}, {row['method']}, seed {row['seed']}",
            "silhouette": number(values[row["cell"]]),
        }
        for row in known
    ]
    return [Table("figure2", "Figure 2: separation", lines, (SEPARATION,))]


def _draw_plane(axes: Axes, *, points: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> None:
    """Points (N, D) in the plane, a color per class."""
    perplexity = min(30.0, (len(labels) - 1) / 3)  # it must be below the number of points
    plane = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(points)
    for index, name in enumerate(classes):
        literal = str(name).replace("$", r"\$")  # not mathematics
        color = COLORS[index % len(COLORS)]
        x, y = plane[labels == index].T
        axes.scatter(x, y, s=9, alpha=0.7, color=color, label=literal)
    axes.set_xticks([])
    axes.set_yticks([])


def betas(rows: Sequence[Row], folder: Path) -> list[Table]:
    """Draw Figure 5 for each data set and network; return its values."""
    tables = []
    for (data, network), some in by(final(rows), "data", "network").items():
        path = folder / f"figure5_{file_stem(data, network)}.png"
        _draw_betas(path, some, title=f"{data}, {network}")
        lines = [
            {"method": method} | _strength(same) for (method,), same in by(some, "method").items()
        ]
        name = file_stem("figure5", data, network)
        tables.append(Table(name, f"Figure 5: {data}, {network}", lines))
    return tables


def _strength(rows: Sequence[Row]) -> dict[str, str]:
    of: Mapping[str, list[Row]] = {
        name: [row for row in rows if row["calibrator"] == name] for name in DRAWN
    }
    return {
        **{f"ECE, {name}": estimate(row["ece"] for row in of[name]) for name in DRAWN},
        "floor": percent(mean_of(of[PLAIN], "noise_floor")),
        "accuracy": estimate(row["accuracy"] for row in of[PLAIN]),
        "gap": estimate((row["signed_gap"] for row in of[PLAIN]), in_points),
    }


def _draw_betas(path: Path, rows: Sequence[Row], *, title: str) -> None:
    """ECE by beta with intervals, a line per calibrator; methods without a beta are levels."""
    figure = titled(title, 6.4, 4.2)
    axes = figure.subplots()
    for place, name in enumerate(DRAWN):
        groups = by((row for row in rows if row["calibrator"] == name), "beta", "method")
        known = [
            (beta, *mean_half(row["ece"] for row in some), method)
            for (beta, method), some in groups.items()
        ]
        strengths = [
            (beta + 0.2 * place, mean, 0.0 if math.isnan(half) else half)
            for beta, mean, half, _ in known
            if beta is not None
        ]
        marked: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.6, "capsize": 3}
        x, y, halves = zip(*strengths, strict=True) if strengths else ((), (), ())
        axes.errorbar(x, y, yerr=halves, label=name, color=COLORS[place], **marked)
        for beta, mean, _, method in known:
            if beta is None:
                axes.axhline(
                    mean, color=INK, linewidth=1, ls=LEVELS[place], label=f"{method}, {name}"
                )
    axes.set(xlabel="beta", ylabel="ECE on test")
    axes.set_ylim(bottom=0)
    tidy(axes, percent="y")
    axes.legend(frameon=False, fontsize=9)
    save(figure, path)


def _first_seed(rows: Sequence[Row]) -> list[Row]:
    first = min(row["seed"] for row in rows)
    return [row for row in rows if row["seed"] == first]
