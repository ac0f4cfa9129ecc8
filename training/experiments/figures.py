"""Figures 1 (overfitting), 2 (features), 4 and 5 (DCA's strength), and their tables."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from calibration.wording import in_points, percent
from training.datasets import Dataset
from training.experiments.grid import Cell
from training.experiments.pictures import (
    Embedding,
    plot_betas,
    plot_curves,
    plot_embeddings,
    plot_panels,
)
from training.experiments.study import Row, Study
from training.experiments.tables import Table, by, estimate, file_stem, final, mean_half, number

WATCHED = (
    "Test is only watched and decides nothing. Loss is the plain cross-entropy in evaluation mode."
)
SEPARATION = (
    "Silhouette of the true classes in the space before the last layer, -1 to 1: higher is better "
    "separated (Rousseeuw 1987). t-SNE distorts distances, so it is not measured in the plot."
)
DRAWN = ("none", "temperature")


def epochs(figure: int, rows: Sequence[Row], folder: Path) -> Table:
    """Draw Figure 1 or 4 with the first seed; return the last epochs, of every seed."""
    plot = plot_curves if figure == 1 else plot_panels
    known = [row for row in rows if row["epoch"] is not None]
    lowest = min(row["seed"] for row in known)
    drawn = by((row for row in known if row["seed"] == lowest), "data", "network")
    for (data, network), some in drawn.items():
        path = folder / f"figure{figure}_{file_stem(data, network)}.png"
        plot(path, some, title=f"{data}, {network}")
    lines = [
        _last_epoch(f"{method}, seed {seed}", some)
        for (_, _, method, seed), some in by(known, "data", "network", "method", "seed").items()
    ]
    return Table(f"figure{figure}", f"Figure {figure}: the last epoch", lines, (WATCHED,))


def _last_epoch(title: str, rows: Sequence[Row]) -> dict[str, str]:
    of = {split: some for (split,), some in by(rows, "split").items()}
    losses = [row["nll"] for row in of["test"]]
    train, test = of["train"][-1], of["test"][-1]
    return {
        "method": title,
        "train loss": number(train["nll"]),
        "test loss": number(test["nll"]),
        "lowest test loss": number(min(losses)),
        "at epoch": str(1 + int(np.argmin(losses))),
        "train accuracy": percent(train["accuracy"]),
        "test accuracy": percent(test["accuracy"]),
        "test ECE": percent(test["ece"]),
    }


def embeddings(
    cells: Iterable[Cell], study: Study, datasets: Mapping[str, Dataset], folder: Path
) -> Table:
    """Draw Figure 2, t-SNE of the last layer's input, with the first seed; return silhouettes."""
    lines, drawn = [], dict[tuple[str, str], list[Embedding]]()
    first = None
    for cell in cells:
        first = cell.config.seed if first is None else first
        points, labels = study.embedding(cell), datasets[cell.data].splits["test"].labels
        value = float(silhouette_score(points, labels))
        title = f"{cell.data}, {cell.method}, seed {cell.config.seed}"
        lines.append({"method": title, "silhouette": number(value)})
        if cell.config.seed == first:
            # t-SNE's perplexity must be below the number of points.
            perplexity = min(30.0, (len(labels) - 1) / 3)
            plane = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(points)
            embedding = Embedding(f"{cell.method} (silhouette {value:.3f})", plane, labels)
            drawn.setdefault((cell.data, cell.network), []).append(embedding)
    for (data, network), some in drawn.items():
        path = folder / f"figure2_{file_stem(data, network)}.png"
        title = f"{data}, {network}: test images before the last layer"
        plot_embeddings(path, some, datasets[data].classes, title=title)
    return Table("figure2", "Figure 2: separation", lines, (SEPARATION,))


def betas(rows: Sequence[Row], strength: Mapping[str, float | None], folder: Path) -> list[Table]:
    """Draw Figure 5 for each data set and network; return its values.

    `strength`: beta by the title of a method; None is a reference without one.
    """
    tables = []
    for (data, network), some in by(final(rows), "data", "network").items():
        eces = {
            titles: mean_half(row["ece"] for row in same)
            for titles, same in by(some, "method", "calibrator").items()
            if titles[1] in DRAWN
        }
        series = {
            name: {
                beta: eces[method, name]
                for method, beta in strength.items()
                if beta is not None and (method, name) in eces
            }
            for name in DRAWN
        }
        levels = {
            f"{method}, {name}": mean
            for (method, name), (mean, _) in eces.items()
            if strength[method] is None
        }
        path = folder / f"figure5_{file_stem(data, network)}.png"
        plot_betas(path, series, levels, title=f"{data}, {network}")
        lines = [_strength(method, same) for (method,), same in by(some, "method").items()]
        title = f"Figure 5: {data}, {network}"
        tables.append(Table(file_stem("figure5", data, network), title, lines))
    return tables


def _strength(method: str, rows: Sequence[Row]) -> dict[str, str]:
    of = {name: [row for row in rows if row["calibrator"] == name] for name in DRAWN}
    plain = of[DRAWN[0]]
    return {
        "method": method,
        **{f"ECE, {name}": estimate(row["ece"] for row in of[name]) for name in DRAWN},
        "floor": percent(mean_half(row["noise_floor"] for row in plain)[0]),
        "accuracy": estimate(row["accuracy"] for row in plain),
        "gap": estimate((row["signed_gap"] for row in plain), in_points),
    }
