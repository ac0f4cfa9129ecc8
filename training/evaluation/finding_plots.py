"""Plots of a run with findings: reliability and ROC curves of each, and training curves."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from calibration.bins import equal_mass_sums
from calibration.findings.measures import known_answers
from calibration.measures.ranking import steps_down
from calibration.measures.reliability import wilson_interval
from training.evaluation.findings import FindingsEvaluation
from training.evaluation.plots import BLUE, GRAY, INK, RED, plot_history, save, tidy, titled
from training.fitting.history import Epoch

PANELS, WIDE = 16, 4  # findings drawn, the first ones, and panels side by side
BINS = 10


def write_finding_plots(
    folder: Path, evaluation: FindingsEvaluation, history: Sequence[Epoch], *, title: str
) -> None:
    """Write all plots of a run into the new folder `folder`."""
    folder.mkdir()
    plot_history(folder / "history.png", history, title=title)
    p = evaluation.probabilities("test", "calibrated")
    labels = evaluation.predictions["test"].labels
    names = evaluation.names[:PANELS]
    rows = math.ceil(len(names) / WIDE)
    for name, draw in (("reliability", _draw_reliability), ("roc", _draw_roc)):
        figure = titled(f"{title}: test, by finding", 3.0 * min(WIDE, len(names)), 3.0 * rows)
        panels = figure.subplots(rows, min(WIDE, len(names)), squeeze=False).ravel()
        for place, axes in enumerate(panels):
            axes.set_visible(place < len(names))
            if place < len(names):
                threshold, _ = evaluation.threshold(place)
                draw(axes, p[:, place], labels[:, place], threshold)
                axes.set_title(names[place], fontsize=10, color=INK)
                tidy(axes, percent="xy")
        save(figure, folder / f"{name}_test.png")


def _draw_reliability(
    axes: Axes, p: NDArray[np.float64], labels: NDArray[np.float64], threshold: float
) -> None:
    """Share present by probability, in bins of equally many images, with Wilson intervals."""
    sums = equal_mass_sums(*known_answers(p, labels)[:2], BINS)
    filled = sums.n > 0
    n = sums.n[filled]
    said, seen = sums.confidence[filled] / n, sums.correct[filled] / n
    bounds = [wilson_interval(share, int(count)) for share, count in zip(seen, n, strict=True)]
    low, high = np.reshape(bounds, (-1, 2)).T
    top = max(0.05, float(said.max(initial=0)), float(seen.max(initial=0))) * 1.1
    axes.plot([0, top], [0, top], color=INK, linewidth=1, linestyle="--")
    axes.errorbar(
        said,
        seen,
        np.clip([seen - low, high - seen], 0, None),
        fmt="o",
        color=BLUE,
        ecolor=GRAY,
        markersize=4,
        elinewidth=1,
    )
    axes.axvline(threshold, color=RED, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="probability", ylabel="share present")


def _draw_roc(
    axes: Axes, p: NDArray[np.float64], labels: NDArray[np.float64], threshold: float
) -> None:
    """Sensitivity against 1 - specificity, with the threshold in use."""
    known, present, _ = known_answers(p, labels)
    levels, kept, absent = steps_down(known, present)
    if present.any() and not present.all():
        found = np.append(0, (kept - absent) / present.sum())
        alarms = np.append(0, absent / (~present).sum())
        axes.plot(alarms, found, color=BLUE, drawstyle="steps-post")
        at = int((levels >= threshold).sum())
        axes.plot(alarms[at], found[at], "o", color=RED, markersize=6)
    axes.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="1 - specificity", ylabel="sensitivity")
