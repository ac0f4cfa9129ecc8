"""Figure 3: one dimension, two classes and a known probability, learned from few noisy labels.

x is uniform on [-3, 3] and the probability of class 1 is .5 + .4 sin(1.5 x), so confidence should
never exceed .9. A wide network that trains long on 256 labels also learns the noise. Since the
probability is known, the error of a network is measured without labels and bins.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calibration.calibrators.temperature import softmax
from calibration.wording import in_points, percent, points
from training.experiments.cell import new_folder
from training.experiments.grid import Variant, changed
from training.experiments.pictures import plot_toy
from training.experiments.summary import Estimate, estimate
from training.experiments.table import Columns, ResultTable, format_estimate
from training.fitting.examples import Examples, predict
from training.fitting.fit import fit
from training.losses import build_objective
from training.progress import Progress, silent
from training.runs.config import TrainConfig

FORMAT = 1  # increase it when a change of code changes the numbers
LIMIT, POINTS = 3.0, 601


@dataclass(frozen=True)
class Problem:
    """Size of the problem and length of training."""

    images: int = 256
    epochs: int = 200
    width: int = 128
    learning_rate: float = 3e-3
    batch_size: int = 64


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


def learn(method: Variant, problem: Problem, *, seed: int) -> NDArray[np.float64]:
    """Probability of class 1 at `positions()`, (POINTS,), from a network trained by `method`."""
    config = changed(TrainConfig(), method.changes, {"loss": method.subject})
    schedule = replace(
        config.schedule,
        epochs=problem.epochs,
        batch_size=problem.batch_size,
        learning_rate=problem.learning_rate,
        decay="none",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden = nn.Linear(problem.width, problem.width)
        network = nn.Sequential(
            nn.Linear(1, problem.width), nn.ReLU(), hidden, nn.ReLU(), nn.Linear(problem.width, 2)
        )
    fit(
        network,
        draw(problem.images, seed=seed),
        draw(problem.images, seed=seed + 10_000),
        objective=build_objective(config.loss, config.loss_settings),
        schedule=schedule,
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
    problem: Problem | None = None,
    progress: Progress = silent,
) -> list[ResultTable]:
    """Train what is not kept in `folder`; toy.png shows the first seed."""
    problem = problem or Problem()
    curves: dict[str, list[NDArray[np.float64]]] = {}
    for count, (method, seed) in enumerate((method, seed) for method in methods for seed in seeds):
        curves.setdefault(method.title, []).append(
            _kept(method, problem, seed=seed, folder=folder / "toy")
        )
        progress("toy", count + 1, len(methods) * len(seeds))
    truth = true_probability(positions())
    figures = {name: _figures(known, truth) for name, known in curves.items()}
    drawn = {
        name: (known[0], f"off by {points(figures[name][0].mean)}")
        for name, known in curves.items()
    }
    plot_toy(
        folder / "toy.png",
        positions(),
        truth,
        drawn,
        title=f"One dimension, {problem.images} labels",
    )
    columns: Columns = {
        "method": str,
        "off by": partial(format_estimate, write=points),
        "gap": partial(format_estimate, write=in_points),
        "accuracy": format_estimate,
    }
    rows = ((name, *known) for name, known in figures.items())
    note = (
        "off by: mean distance from the true probability. gap: mean confidence minus true "
        f"accuracy; the best possible is {percent(np.maximum(truth, 1 - truth).mean())}. Mean "
        f"± half of the 95 % t interval over {len(seeds)} seeds. No method has a temperature."
    )
    return [ResultTable.of("toy", "Figure 3: one dimension", columns, rows, note)]


def _figures(
    curves: Sequence[NDArray[np.float64]], truth: NDArray[np.float64]
) -> tuple[Estimate, Estimate, Estimate]:
    accuracies = [np.where(curve > 0.5, truth, 1 - truth).mean() for curve in curves]
    confidences = [np.maximum(curve, 1 - curve).mean() for curve in curves]
    return (
        estimate(float(np.abs(curve - truth).mean()) for curve in curves),
        estimate(float(sure - right) for sure, right in zip(confidences, accuracies, strict=True)),
        estimate(map(float, accuracies)),
    )


def _kept(method: Variant, problem: Problem, *, seed: int, folder: Path) -> NDArray[np.float64]:
    parts = [FORMAT, method.subject, dict(method.changes), asdict(problem), seed]
    path = folder / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    if not path.is_dir():
        curve = learn(method, problem, seed=seed)
        with new_folder(path) as part:
            np.save(part / "curve.npy", curve)
    known: NDArray[np.float64] = np.load(path / "curve.npy", allow_pickle=False)
    return known
