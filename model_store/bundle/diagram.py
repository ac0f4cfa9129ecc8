"""The reliability diagram as SVG: accuracy against confidence, the range of chance, the counts.

Model cards, pages, reports and notebooks all show this one. `templates/drawing.css` has its rules;
pages define the colors by name, a file of its own gets those of light pages.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from calibration.measures.reliability import ReliabilityBin
from calibration.wording import counted, percent

_LEFT, _TOP, _SIDE = 72, 20, 400  # the square plot
_COUNTS = 64  # the strip of bars under it
_Z95 = 1.96  # standard deviations that hold 95 %
_LIGHT = {
    "card": "#ffffff",
    "line": "#dfe3e8",
    "muted": "#5b6675",
    "accent": "#2563b0",
    "bad": "#b3261e",
}
# Where the axis of confidence may start, which a model with few classes does not use up.
_STARTS = (0.8, 0.6, 0.4, 0.2, 0.0)


class DiagramScale(NamedTuple):
    """Where the axis of confidence starts, in [0, 1), and how many answers fill the counts."""

    start: float
    most: int


def scale_of(diagrams: Iterable[Sequence[ReliabilityBin]]) -> DiagramScale:
    """Return the scale on which all these diagrams fit, so that they can be compared by eye."""
    filled = [row for bins in diagrams for row in bins if row.n]
    least = min((row.lower for row in filled), default=0.0)
    return DiagramScale(
        next(each for each in _STARTS if each <= least + 1e-9),
        max((row.n for row in filled), default=1),
    )


def reliability_diagram(
    bins: Sequence[ReliabilityBin],
    *,
    of: str = "all answers",
    scale: DiagramScale | None = None,
    own_style: Markup | None = None,
) -> Markup:
    """Draw the bins that have answers, and describe them for those who do not see them.

    On the dashed line confidence equals accuracy. `of` names the answers; `scale` is that of the
    diagrams beside it, and `own_style` are rules for a drawing in a file of its own.
    """
    start, most = scale or scale_of([bins])
    rendered = (
        _environment()
        .get_template("diagram.svg.jinja")
        .render(
            plot=_Plot(most, start),
            bins=[(row, _said(row)) for row in bins if row.n],
            described=description(bins, of=of),
            upward="accuracy, %",
            rightward="confidence, %, and answers",
            own_style=own_style,
        )
    )
    return Markup(rendered)


def diagram_file(
    bins: Sequence[ReliabilityBin], *, of: str = "all answers", scale: DiagramScale | None = None
) -> Markup:
    """Return the same drawing as an SVG file, with light colors, for viewers and notebooks."""
    return reliability_diagram(bins, of=of, scale=scale, own_style=file_style())


@cache
def drawing_rules() -> str:
    """Return the rules of style sheets for drawings, with colors by name."""
    rules = files("model_store.bundle").joinpath("templates", "drawing.css")
    return rules.read_text(encoding="utf-8")


def file_style() -> Markup:
    """The rules with colors in place of names: some viewers of SVG know no CSS variables."""
    plain = re.sub(r"var\(--(\w+)\)", lambda color: _LIGHT[color[1]], drawing_rules())
    return Markup(f"{plain}svg {{ font-family: system-ui, sans-serif; }}")  # from our own file


@cache
def _environment() -> Environment:
    return environment_of("model_store.bundle")


def environment_of(package: str) -> Environment:
    """Return Jinja2 for a package's templates: it escapes values and refuses undefined names."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def description(bins: Sequence[ReliabilityBin], *, of: str = "all answers") -> str:
    """What the diagram shows, in a sentence or two."""
    filled = [row for row in bins if row.n]
    if not filled:
        return f"Reliability diagram of {of}: no answer has a label yet."
    most = max(filled, key=lambda row: row.n)
    labels = sum(row.n for row in filled)
    below = sum(row.accuracy < _chance(row)[0] for row in filled)
    above = sum(row.accuracy > _chance(row)[1] for row in filled)
    return (
        f"Reliability diagram of {of}: {counted(labels, 'labeled answer')} in "
        f"{counted(len(filled), 'confidence bin')}. Accuracy lies below the range that chance "
        f"explains in {below} of them, above it in {above}. The fullest bin: {_answers(most)}."
    )


def _said(row: ReliabilityBin) -> str:
    """What the dot of a bin says."""
    interval = f"{100 * row.accuracy_lower:.0f} to {100 * row.accuracy_upper:.0f}"
    return f"{_answers(row)} (95 % interval {interval})"


def _answers(row: ReliabilityBin) -> str:
    return (
        f"{counted(row.n, 'answer')}, mean confidence {percent(row.confidence)}, accuracy "
        f"{percent(row.accuracy)}"
    )


def _chance(row: ReliabilityBin) -> tuple[float, float]:
    """Return where 95 % of a calibrated model's dots fall with as many answers."""
    half = _Z95 * math.sqrt(row.confidence * (1 - row.confidence) / row.n)
    return max(0.0, row.confidence - half), min(1.0, row.confidence + half)


@dataclass(frozen=True)
class _Plot:
    """Maps values to coordinates. `most`: answers in the fullest bin; `start`: of the axis."""

    most: int
    start: float
    base = _TOP + _SIDE + 36 + _COUNTS  # the bottom of the counts
    width, height = _LEFT + _SIDE + 24, base + 50
    ticks = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

    @property
    def confidences(self) -> list[float]:
        """The ticks of the axis of confidence."""
        return [tick for tick in self.ticks if tick >= self.start]

    def x(self, confidence: float) -> float:
        return round(_LEFT + _SIDE * (confidence - self.start) / (1 - self.start), 2)

    def y(self, accuracy: float) -> float:
        return round(_TOP + _SIDE * (1 - accuracy), 2)

    def chance(self, row: ReliabilityBin) -> tuple[float, float]:
        return _chance(row)

    def count_height(self, n: int) -> float:
        return max(1.0, (_COUNTS - 14) * n / self.most)
