"""Pictures of a run: the reliability diagram with its confidence histogram, and the training curves.

Drawn with matplotlib's Agg canvas directly, so that no global state, display or style file plays a part.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from calibration.bins import BinSums
from calibration.metrics import ece, noise_floor, signed_gap
from calibration.reliability import ReliabilityBin, reliability
from training.loop import Epoch

BLUE, RED, GRAY, INK = "#2f6c9f", "#d1495b", "#8a8f98", "#23272e"
DPI = 144


def plot_reliability(path: Path, sums: BinSums, *, title: str) -> None:
    """Reliability diagram of `sums` as a PNG: accuracy by confidence, the gap between them, and where answers lie."""
    figure = Figure(figsize=(5.2, 6.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1.0))
    bins = [each for each in reliability(sums) if each.n > 0]
    _draw_accuracy(upper, bins)
    _draw_histogram(lower, bins)
    gap = signed_gap(sums)
    figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    upper.set_title(
        f"ECE {ece(sums):.3f} (noise floor {noise_floor(sums):.3f}), "
        f"{'over' if gap > 0 else 'under'}confident by {abs(gap):.3f}, n = {sums.total}",
        fontsize=9.5,
        color=INK,
    )
    lower.set_xlim(_first_confidence(bins), 1.0)
    _save(figure, path)


def plot_history(path: Path, history: Sequence[Epoch], *, title: str) -> None:
    """Loss, accuracy and gap by epoch, training and validation, as a PNG."""
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    epochs = [epoch.epoch for epoch in history]
    for axes, quantity in zip(figure.subplots(1, 3), ("loss", "accuracy", "gap"), strict=True):
        for split, color in (("train", GRAY), ("val", BLUE)):
            values = [getattr(epoch, f"{split}_{quantity}") for epoch in history]
            axes.plot(epochs, values, color=color, marker="o", markersize=3, label=split)
        axes.set_title({"gap": "confidence - accuracy"}.get(quantity, quantity), fontsize=10, color=INK)
        axes.set_xlabel("epoch")
        _tidy(axes)
        if quantity == "gap":
            axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def _draw_accuracy(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    left = np.array([each.lower for each in bins])
    width = np.array([each.upper - each.lower for each in bins])
    accuracy = np.array([each.accuracy for each in bins])
    confidence = np.array([each.confidence for each in bins])
    middle = left + width / 2
    axes.bar(left, accuracy, width, align="edge", color=BLUE, edgecolor="white", linewidth=1, label="accuracy")
    axes.bar(
        left, confidence - accuracy, width, bottom=accuracy, align="edge", color=RED, alpha=0.28, hatch="////",
        edgecolor=RED, linewidth=0.6, label="gap to confidence",
    )  # fmt: skip
    bounds = np.array([[each.accuracy - each.accuracy_lower, each.accuracy_upper - each.accuracy] for each in bins]).T
    axes.errorbar(middle, accuracy, yerr=np.clip(bounds, 0, None), fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="perfect")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("accuracy")
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    _tidy(axes)


def _draw_histogram(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    total = sum(each.n for each in bins)
    left, width = [each.lower for each in bins], [each.upper - each.lower for each in bins]
    axes.bar(left, [each.n / total for each in bins], width, align="edge", color=GRAY, edgecolor="white", linewidth=1)
    axes.set_ylabel("share of answers")
    axes.set_xlabel("confidence")
    _tidy(axes)


def _first_confidence(bins: Sequence[ReliabilityBin]) -> float:
    """Left edge of the picture: a two-class model never answers below one half, and half a picture would be empty."""
    return min((each.lower for each in bins), default=0.0)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color="#e4e6ea", linewidth=0.8)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
