"""A recalibration before it is published: reliability and classes before and after, in one file without scripts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from calibration.reliability import ReliabilityBin
from model_store.diagram import reliability_diagram
from monitoring.pages.rendering import render


class ClassRow(NamedTuple):
    """One class on the held-out labels: `labels` of it, and pairs (before, after). NaN without such answers."""

    name: str
    labels: int
    sensitivity: tuple[float, float]
    specificity: tuple[float, float]
    gap: tuple[float, float]


def recalibration_page(
    *,
    title: str,
    sentence: str,
    diagrams: Mapping[str, Sequence[ReliabilityBin]],
    classes: Sequence[ClassRow],
    notes: Sequence[str],
) -> str:
    """Render the page. `diagrams`: the bins of each diagram by its heading; `notes`: what to know before promoting."""
    drawn = {heading: reliability_diagram(bins) for heading, bins in diagrams.items()}
    return render("recalibration.html", title=title, sentence=sentence, diagrams=drawn, classes=classes, notes=notes)
