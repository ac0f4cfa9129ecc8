"""Plots of a run: reliability diagrams with confidence histograms, risk against coverage, training
curves.

They use matplotlib's Agg canvas directly, independent of global state, display and style files.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from calibration.bins import BinSums
from calibration.measures.metrics import ece, noise_floor, signed_gap
from calibration.measures.ranking import steps_down
from calibration.measures.reliability import ReliabilityBin, reliability
from calibration.wording import percent, points
from training.evaluation.calibrators import METHODS, Method
from training.evaluation.evaluation import Evaluation
from training.evaluation.predictions import EVALUATED, EvaluatedSplit
from training.fitting.history import Epoch

BLUE, RED, GRAY, INK = "#2f6c9f", "#d1495b", "#8a8f98", "#23272e"
COLORS = {"val": BLUE, "test": RED}
DPI = 144
# The others share one plot.
DRAWN_ALONE: dict[Method, str] = {"none": "", "temperature": " + temperature"}


def write_plots(
    folder: Path, evaluation: Evaluation, history: Sequence[Epoch], *, title: str
) -> None:
    """Write all plots of a run into the new folder `folder`."""
    folder.mkdir()
    plot_history(folder / "history.png", history, title=title)
    plot_calibrators(folder / "calibrators_test.png", evaluation, "test", title=f"{title}: test")
    plot_risk(folder / "risk_coverage.png", evaluation, title=title)
    for split in EVALUATED:
        for method, suffix in DRAWN_ALONE.items():
            path, sums = (
                folder / f"reliability_{split}_{method}.png",
                evaluation.sums(split, method),
            )
            plot_reliability(path, sums, title=f"{title}{suffix}: {split}")


def plot_reliability(path: Path, sums: BinSums, *, title: str) -> None:
    """Reliability diagram of `sums` as a PNG: accuracy by confidence, gap, and histogram."""
    figure = Figure(figsize=(5.2, 6.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1.0))
    bins = [each for each in reliability(sums) if each.n > 0]
    _draw_accuracy(upper, bins)
    _draw_histogram(lower, bins)
    legend_below(figure, upper)
    gap = signed_gap(sums)
    figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    upper.set_title(
        f"ECE {percent(ece(sums))} (noise floor {percent(noise_floor(sums))}), "
        f"{'over' if gap > 0 else 'under'}confident by {points(abs(gap))}, n = {sums.total}",
        fontsize=9.5,
        color=INK,
    )
    lower.set_xlim(_first_confidence(bins), 1.0)
    save(figure, path)


def plot_calibrators(
    path: Path, evaluation: Evaluation, split: EvaluatedSplit, *, title: str
) -> None:
    """The reliability of every calibrator on `split`, side by side, as a PNG."""
    figure = titled(title, 3.0 * len(METHODS), 3.9)
    panels = figure.subplots(1, len(METHODS), sharey=True)
    bins = {
        m: [each for each in reliability(evaluation.sums(split, m)) if each.n > 0] for m in METHODS
    }
    for axes, method in zip(panels, METHODS, strict=True):
        _draw_accuracy(axes, bins[method])
        axes.set_ylabel("accuracy" if axes is panels[0] else "")
        measures = evaluation.measures[split][method]
        axes.set_title(
            f"{method}\nECE {percent(measures.ece)} (floor {percent(measures.noise_floor)})",
            fontsize=10,
            color=INK,
        )
        axes.set_xlim(min(map(_first_confidence, bins.values())), 1.0)
        axes.set_xlabel("confidence")
    legend_below(figure, panels[0])
    save(figure, path)


def plot_risk(path: Path, evaluation: Evaluation, *, title: str) -> None:
    """Error rate of the most confident answers by their share, with temperature, as a PNG.

    Source: Geifman and El-Yaniv 2017, "Selective classification for deep neural networks".
    """
    figure = titled(title, 5.2, 4.2)
    axes = figure.subplots()
    for split in EVALUATED:
        _, kept, wrong = steps_down(*evaluation.answers(split, "temperature"))
        axes.step(kept / kept[-1], wrong / kept, where="post", color=COLORS[split], label=split)
    referral = evaluation.referral("temperature")
    if referral:
        label = f"referral: {1 - referral.coverage:.0%} of val go to a person"
        axes.axvline(referral.coverage, color=INK, linewidth=0.8, linestyle=":", label=label)
    axes.set(
        xlabel="coverage: share of answers kept, most confident first",
        ylabel="risk: errors among them",
        xlim=(0, 1),
    )
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    tidy(axes, percent="xy")
    save(figure, path)


def plot_history(path: Path, history: Sequence[Epoch], *, title: str) -> None:
    """Loss, accuracy and gap by epoch in training and validation, as a PNG."""
    figure = titled(title, 9.6, 3.2)
    heads = [
        [epoch for epoch in history if epoch.head == head]
        for head in sorted({each.head for each in history})
    ]
    for axes, quantity in zip(figure.subplots(1, 3), ("loss", "accuracy", "gap"), strict=True):
        for split, color in (("train", GRAY), ("val", BLUE)):
            for number, lines in enumerate(heads):
                values = [getattr(epoch, f"{split}_{quantity}") for epoch in lines]
                label, epochs = split if number == 0 else None, [line.epoch for line in lines]
                axes.plot(epochs, values, color=color, marker="o", markersize=3, label=label)
        kept = [epoch for epoch in history if epoch.kept]
        values, epochs = (
            [getattr(line, f"val_{quantity}") for line in kept],
            [k.epoch for k in kept],
        )
        axes.plot(epochs, values, "o", color=INK, markersize=8, fillstyle="none", label="kept")
        named = "confidence - accuracy, points" if quantity == "gap" else quantity
        axes.set_title(named, fontsize=10, color=INK)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes, percent="" if quantity == "loss" else "y")
        if quantity == "gap":
            axes.yaxis.set_major_formatter(lambda value, _: tick(value))
            axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    axes.legend(frameon=False, fontsize=9)
    save(figure, path)


def _draw_accuracy(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    left = np.array([each.lower for each in bins])
    width = np.array([each.upper - each.lower for each in bins])
    accuracy = np.array([each.accuracy for each in bins])
    confidence = np.array([each.confidence for each in bins])
    middle = left + width / 2
    bar: dict[str, Any] = {"align": "edge", "color": BLUE, "edgecolor": "white", "linewidth": 1}
    axes.bar(left, accuracy, width, label="accuracy", **bar)
    gap = bar | {"color": RED, "edgecolor": RED, "alpha": 0.28, "hatch": "////", "linewidth": 0.6}
    gap |= {"bottom": accuracy, "label": "gap to confidence"}
    axes.bar(left, confidence - accuracy, width, **gap)
    lower = accuracy - np.array([each.accuracy_lower for each in bins])
    upper = np.array([each.accuracy_upper for each in bins]) - accuracy
    bounds = np.clip([lower, upper], 0, None)
    axes.errorbar(middle, accuracy, bounds, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="perfect")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("accuracy")
    tidy(axes, percent="xy")


def _draw_histogram(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    total = sum(each.n for each in bins)
    left, width = [each.lower for each in bins], [each.upper - each.lower for each in bins]
    shares = [each.n / total for each in bins]
    axes.bar(left, shares, width, align="edge", color=GRAY, edgecolor="white", linewidth=1)
    axes.set_ylabel("share of answers")
    axes.set_xlabel("confidence")
    tidy(axes, percent="xy")


def _first_confidence(bins: Sequence[ReliabilityBin]) -> float:
    """Left edge of the plot: with two classes, no confidence is below one half."""
    return min((each.lower for each in bins), default=0.0)


def titled(title: str, width: float, height: float) -> Figure:
    """A figure of so many inches with its title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    return figure


def tidy(axes: Axes, *, percent: str = "") -> None:
    """Apply the common style of all plots. `percent`: axes of proportions, such as "xy"."""
    for name in percent:
        axis = getattr(axes, f"{name}axis")
        axis.set_major_formatter(lambda value, _: f"{tick(value)} %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color="#e4e6ea", linewidth=0.8)
    axes.set_axisbelow(True)


def legend_below(figure: Figure, axes: Axes) -> None:
    """The keys of `axes` below all panels, where they hide nothing, in rows that fit."""
    keys, names = axes.get_legend_handles_labels()
    inches = 0.09 * (max(map(len, names), default=0) + 6)  # of a key, at this size of letters
    columns = max(1, min(len(names), int(figure.get_figwidth() / inches)))
    figure.legend(keys, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def tick(ratio: float) -> str:
    """A ratio times 100, with no more digits than it has.

    >>> tick(0.2), tick(0.025), tick(-1e-17)
    ('20', '2.5', '0')
    """
    return f"{round(100 * ratio, 6) + 0.0:g}"


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as a PNG; the bytes are reproducible."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
