"""Figure 3: one dimension, two classes and a known probability, learned from few noisy labels.

x is uniform on [-3, 3] and the probability of class 1 is .5 + .4 sin(1.5 x), so confidence should
never exceed .9. A wide network that trains long on 256 labels also learns the noise. Since the
probability is known, the error of a network is measured without labels and bins.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calibration.calibrators.temperature import softmax
from calibration.wording import in_points, percent, points
from model_store.bundle.files import write_whole
from training.evaluation.plots import BLUE, INK, legend_below, save, tidy, titled
from training.experiments.grid import Variant, changed, key_of
from training.experiments.study import Row
from training.experiments.tables import Table, by, estimate, mean_of
from training.fitting.examples import Examples, predict
from training.fitting.fit import fit
from training.losses import build_objective
from training.progress import Progress, silent

LIMIT, POINTS, WIDTH = 3.0, 601, 128
LABELS, EPOCHS = 256, 200
SCHEDULE = {"batch_size": 64, "learning_rate": 3e-3, "decay": "none"}
POSITIONS = np.linspace(-LIMIT, LIMIT, POINTS)


def true_probability(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of class 1 at `x`.

    >>> true_probability(np.array([0.0, np.pi / 3])).round(3).tolist()
    [0.5, 0.9]
    """
    return np.asarray(0.5 + 0.4 * np.sin(1.5 * x))


TRUTH = true_probability(POSITIONS)


def draw(count: int, *, seed: int) -> Examples:
    """`count` positions (N, 1) and labels drawn from the truth."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-LIMIT, LIMIT, count)
    labels = generator.uniform(size=count) < true_probability(x)
    return Examples(x[:, None].astype(np.float32), labels.astype(np.int64))


def learn(
    method: Variant, *, seed: int, labels: int = LABELS, epochs: int = EPOCHS
) -> NDArray[np.float64]:
    """Probability of class 1 at POSITIONS, (POINTS,), from a network trained by `method`."""
    config = changed(method.changes, {"loss": method.subject, "epochs": epochs}, SCHEDULE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden = nn.Linear(WIDTH, WIDTH)
        network = nn.Sequential(
            nn.Linear(1, WIDTH), nn.ReLU(), hidden, nn.ReLU(), nn.Linear(WIDTH, 2)
        )
    fit(
        network,
        draw(labels, seed=seed),
        draw(labels, seed=seed + 10_000),
        objective=build_objective(config.loss, config.loss_settings),
        schedule=config.schedule,
        seed=seed,
    )
    return softmax(predict(network, POSITIONS[:, None].astype(np.float32)))[:, 1]


def toy(
    methods: Sequence[Variant], seeds: Sequence[int], folder: Path, *, progress: Progress = silent
) -> tuple[list[Row], Table]:
    """Train what is not kept in `folder`; draw Figure 3 with the first seed; return its values."""
    rows: list[Row] = []
    drawn: dict[str, NDArray[np.float64]] = {}
    for method in methods:
        for seed in seeds:
            curve = _kept(method, seed=seed, folder=folder / "toy")
            drawn.setdefault(method.title, curve)
            rows.append({"method": method.title, "seed": seed} | _figures(curve))
            progress("toy", len(rows), len(methods) * len(seeds))
    groups = {title: some for (title,), some in by(rows, "method").items()}
    off = {title: points(mean_of(some, "off_by")) for title, some in groups.items()}
    _draw(folder / "figure3.png", {f"{each}: off by {off[each]}": drawn[each] for each in drawn})
    lines = [
        {
            "method": title,
            "off by": estimate((row["off_by"] for row in some), points),
            "gap": estimate((row["gap"] for row in some), in_points),
            "accuracy": estimate(row["accuracy"] for row in some),
        }
        for title, some in groups.items()
    ]
    note = (
        "off by: mean distance from the true probability. gap: mean confidence minus true "
        f"accuracy; the best possible is {percent(np.maximum(TRUTH, 1 - TRUTH).mean())}. Mean "
        f"± half of the 95 % t interval over {len(seeds)} seeds. No method has a temperature."
    )
    return rows, Table("figure3", "Figure 3: one dimension", lines, (note,))


def _figures(curve: NDArray[np.float64]) -> Row:
    accuracy = float(np.where(curve > 0.5, TRUTH, 1 - TRUTH).mean())
    return {
        "off_by": float(np.abs(curve - TRUTH).mean()),
        "gap": float(np.maximum(curve, 1 - curve).mean()) - accuracy,
        "accuracy": accuracy,
    }


def _kept(method: Variant, *, seed: int, folder: Path) -> NDArray[np.float64]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key_of(method.subject, dict(method.changes), EPOCHS, seed)}.json"
    if not path.is_file():
        write_whole(path, json.dumps(learn(method, seed=seed).tolist()).encode())
    return np.array(json.loads(path.read_text()))


def _draw(path: Path, curves: Mapping[str, NDArray[np.float64]]) -> None:
    """A panel per curve (POINTS,) with the learned and the true probability."""
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    title = f"One dimension, {LABELS} labels"
    figure = titled(title, 2.9 * columns, 2.1 * rows + 0.5)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, curve) in zip(panels, curves.items(), strict=False):
        axes.plot(POSITIONS, TRUTH, color=INK, linewidth=1.2, linestyle="--", label="true")
        axes.plot(POSITIONS, curve, color=BLUE, linewidth=1.6, label="learned")
        axes.set_title(name, fontsize=9, color=INK)
        axes.set_ylim(-0.03, 1.03)
        tidy(axes, percent="y")
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    legend_below(figure, panels[0])
    figure.supxlabel("x", fontsize=10)
    figure.supylabel("probability of class 1", fontsize=10)
    save(figure, path)
