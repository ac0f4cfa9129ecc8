"""Figure 3: one dimension, two classes and a known probability, learned from few noisy labels.

x is uniform on [-3, 3] and the probability of class 1 is .5 + .4 sin(1.5 x), so confidence should
never exceed .9. A wide network that trains long on 256 labels also learns the noise. Since the
probability is known, the error of a network is measured without labels and bins.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calibration.calibrators.temperature import softmax
from calibration.wording import in_points, percent, points
from training.experiments.grid import Variant, changed, key_of
from training.experiments.pictures import plot_toy
from training.experiments.study import Row, new_folder
from training.experiments.tables import Table, by, estimate, mean_half
from training.fitting.examples import Examples, predict
from training.fitting.fit import fit
from training.losses import build_objective
from training.progress import Progress, silent

LIMIT, POINTS, WIDTH = 3.0, 601, 128
LABELS, EPOCHS = 256, 200
SCHEDULE = {"batch_size": 64, "learning_rate": 3e-3, "decay": "none"}


def true_probability(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of class 1 at `x`.

    >>> true_probability(np.array([0.0, np.pi / 3])).round(3).tolist()
    [0.5, 0.9]
    """
    return np.asarray(0.5 + 0.4 * np.sin(1.5 * x))


def draw(count: int, *, seed: int) -> Examples:
    """`count` positions (N, 1) and labels drawn from the truth."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-LIMIT, LIMIT, count)
    labels = generator.uniform(size=count) < true_probability(x)
    return Examples(x[:, None].astype(np.float32), labels.astype(np.int64))


def learn(
    method: Variant, *, seed: int, labels: int = LABELS, epochs: int = EPOCHS
) -> NDArray[np.float64]:
    """Probability of class 1 at `positions()`, (POINTS,), from a network trained by `method`."""
    config = changed(dict(method.changes) | {"loss": method.subject, "epochs": epochs} | SCHEDULE)
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
    return softmax(predict(network, positions()[:, None].astype(np.float32)))[:, 1]


def positions() -> NDArray[np.float64]:
    """Positions of evaluation, (POINTS,), evenly spaced."""
    return np.linspace(-LIMIT, LIMIT, POINTS)


def toy(
    methods: Sequence[Variant],
    seeds: Sequence[int],
    folder: Path,
    *,
    epochs: int = EPOCHS,
    progress: Progress = silent,
) -> tuple[list[Row], Table]:
    """Train what is not kept in `folder`; draw Figure 3 with the first seed; return its values."""
    truth, drawn, rows = (
        true_probability(positions()),
        dict[str, NDArray[np.float64]](),
        list[Row](),
    )
    for method in methods:
        for seed in seeds:
            curve = _kept(method, seed=seed, epochs=epochs, folder=folder / "toy")
            drawn.setdefault(method.title, curve)
            rows.append({"method": method.title, "seed": seed} | _figures(curve, truth))
            progress("toy", len(rows), len(methods) * len(seeds))
    groups = {title: some for (title,), some in by(rows, "method").items()}
    notes = {
        title: f"off by {points(mean_half(row['off_by'] for row in some)[0])}"
        for title, some in groups.items()
    }
    plot_toy(
        folder / "figure3.png",
        positions(),
        truth,
        {title: (curve, notes[title]) for title, curve in drawn.items()},
        title=f"One dimension, {LABELS} labels",
    )
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
        f"accuracy; the best possible is {percent(np.maximum(truth, 1 - truth).mean())}. Mean "
        f"± half of the 95 % t interval over {len(seeds)} seeds. No method has a temperature."
    )
    return rows, Table("figure3", "Figure 3: one dimension", lines, (note,))


def _figures(curve: NDArray[np.float64], truth: NDArray[np.float64]) -> Row:
    accuracy = float(np.where(curve > 0.5, truth, 1 - truth).mean())
    return {
        "off_by": float(np.abs(curve - truth).mean()),
        "gap": float(np.maximum(curve, 1 - curve).mean()) - accuracy,
        "accuracy": accuracy,
    }


def _kept(method: Variant, *, seed: int, epochs: int, folder: Path) -> NDArray[np.float64]:
    path = folder / key_of(method.subject, dict(method.changes), epochs, seed)
    if not path.is_dir():
        curve = learn(method, seed=seed, epochs=epochs)
        with new_folder(path) as part:
            np.save(part / "curve.npy", curve)
    known: NDArray[np.float64] = np.load(path / "curve.npy", allow_pickle=False)
    return known
